"""Protocols of tests, and presets: fsseg's own protocol and those of four official codes."""
