"""`fsseg demo`: a local web page to paint masks on supports and to see queries segmented.

Only `page`, `server` and `connections` need the optional libraries of the page.
"""
