"""A Containerfile: read, its stages told apart, and the last one turned into the files and config of an image."""
