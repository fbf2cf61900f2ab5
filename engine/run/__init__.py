"""The run directory: the only interface between the trainer and everyone who watches. Standard library only."""
