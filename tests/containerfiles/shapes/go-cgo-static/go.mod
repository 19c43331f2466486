module example.org/notes
