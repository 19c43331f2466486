"""What starts an image later and elsewhere: manifests and units, as text."""
