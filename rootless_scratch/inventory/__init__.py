"""What an image or a program consists of, by its files alone, and the documents that say so."""
