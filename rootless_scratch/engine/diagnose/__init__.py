"""What podman, runtimes and ssh say of a failure, as a cause and a fix."""
