"""Advice in plain words: is fine-tuning right here, what fits this machine, which model and variant."""
