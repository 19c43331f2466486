module example.org/operator
