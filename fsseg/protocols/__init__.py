"""Protocols of tests, and presets: fsseg's own protocol and those of five official codes."""
