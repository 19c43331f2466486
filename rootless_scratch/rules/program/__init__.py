"""Rules on one file: programs, scripts, what a program said at its end."""
