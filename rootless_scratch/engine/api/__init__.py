"""The podman API: HTTP over a unix socket, and what is asked of images."""
