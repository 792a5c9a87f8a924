"""`fsseg demo`: a local page to paint supports on and see queries segmented; all but `page` and `server` without it."""
