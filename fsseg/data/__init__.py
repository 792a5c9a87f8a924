"""Data sets, episodes, and the data module that makes batches of them."""
