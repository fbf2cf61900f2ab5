"""What finetui knows about models: names, the catalogue, and what a model folder holds."""
