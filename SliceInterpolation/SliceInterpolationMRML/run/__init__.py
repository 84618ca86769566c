"""Runs: the command line in a process of its own, what it takes from the scene and gives back, what it needs."""
