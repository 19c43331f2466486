module example.org/sidecar
