"""What runs inside the user namespace: the standard library alone, and of that only what loads fast."""
