"""Compressed layers that were made before, by what is in them: on this host, and in a layout or a registry."""
