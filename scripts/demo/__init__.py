"""Builds the embedded demo model and its dataset (`python -m scripts.demo.build`)."""
