"""Rules on a whole image: its config, users, paths, and what its programs want."""
