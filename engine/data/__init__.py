"""Datasets: read a file, recognise its shape, bring the rows into one form, look at them token by token."""
