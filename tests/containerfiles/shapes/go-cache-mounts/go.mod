module example.org/proxy
