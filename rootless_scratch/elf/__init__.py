"""What a program file says of itself, read without ever running it."""
