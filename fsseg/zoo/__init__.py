"""Published checkpoints: their cards, indexes of many, and verified downloads. Only `publish` imports torch."""
