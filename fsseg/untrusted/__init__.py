"""Security: untrusted files cannot run code, leave their folder or exhaust the machine."""
