"""Files that describe many images, read into targets."""
