module example.org/web
