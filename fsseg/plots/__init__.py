"""Figures of episodes, prototypes and numbers."""
