module example.org/small
