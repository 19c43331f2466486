module example.org/store
