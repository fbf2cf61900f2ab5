"""RunConfig: the one file that repeats a run anywhere."""
