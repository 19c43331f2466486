"""The podman service: found, started, or reached on another host."""
