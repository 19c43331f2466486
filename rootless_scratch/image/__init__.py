"""An image as data: what was asked for, what goes in, what was decided."""
