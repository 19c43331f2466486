module example.org/queue
