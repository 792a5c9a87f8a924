"""Episodes, prototypes and numbers as images."""
