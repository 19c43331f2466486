module example.org/linked
