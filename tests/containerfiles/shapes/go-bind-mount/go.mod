module example.org/gateway
