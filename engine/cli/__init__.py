"""The command line: one module a verb, all on the same code path as the screens."""
