module example.org/manager
