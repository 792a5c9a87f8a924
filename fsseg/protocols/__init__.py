"""How a number is made: the protocol and the presets of five codes."""
