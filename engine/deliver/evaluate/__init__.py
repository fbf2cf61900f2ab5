"""Is the trained model better? Measured on rows it never learned from, against the base or another checkpoint."""
