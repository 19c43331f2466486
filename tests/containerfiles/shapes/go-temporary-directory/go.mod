module example.org/render
