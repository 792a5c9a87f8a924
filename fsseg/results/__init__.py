"""Rows of pixel counts, tables made from rows, and published numbers to compare with."""
