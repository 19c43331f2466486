module example.org/plugins
