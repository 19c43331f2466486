"""The writer of layers, layouts, archives and Containerfiles."""
