"""From counts to rows, from rows to tables, beside published numbers."""
