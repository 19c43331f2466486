module example.org/ping
