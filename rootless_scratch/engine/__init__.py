"""The podman service: found or started, spoken to over its REST API, and ended if it is ours."""
