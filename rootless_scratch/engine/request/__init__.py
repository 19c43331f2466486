"""What a run may be asked for, read and checked."""
