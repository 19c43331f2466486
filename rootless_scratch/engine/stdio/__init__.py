"""The streams between the caller and the program: output, input, terminal."""
