module example.org/many
