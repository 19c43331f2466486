"""A container from its creation to its removal."""
