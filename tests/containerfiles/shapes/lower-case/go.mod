module example.org/low
