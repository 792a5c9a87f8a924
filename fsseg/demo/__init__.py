"""`fsseg demo`: a local web page; only `page`, `server` and `connections` need the optional libraries of the page."""
