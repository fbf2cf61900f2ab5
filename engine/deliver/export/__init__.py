"""Trained models in the form other programs load. Torch is loaded only in the worker process."""
