module example.org/named
