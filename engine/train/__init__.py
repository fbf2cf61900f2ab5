"""The trainer process. Torch and its friends live here and are loaded by nobody else."""
