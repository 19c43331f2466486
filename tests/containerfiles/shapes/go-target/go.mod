module example.org/sync
