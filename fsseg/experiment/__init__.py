"""From a configuration to objects: parser, checks, compatibility with a checkpoint."""
