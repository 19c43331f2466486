module example.org/relay
