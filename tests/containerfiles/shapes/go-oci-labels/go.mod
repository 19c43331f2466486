module example.org/metrics
