"""A Hub of our own: speaks enough of the protocol for the real `huggingface_hub` client, and misbehaves on request."""
