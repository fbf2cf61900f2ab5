"""Chat templates: which one, run in a sandbox, what of a conversation is learnt through it, and whether that is any good."""
