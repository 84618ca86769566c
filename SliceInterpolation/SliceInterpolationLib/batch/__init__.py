"""Many studies at once: found in a tree or a list, done side by side, each one as a whole or not at all."""
