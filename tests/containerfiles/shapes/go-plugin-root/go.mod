module example.org/volume-driver
