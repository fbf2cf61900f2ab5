"""Models and datasets of the Hugging Face Hub: looked at, searched, downloaded. ``huggingface_hub`` is loaded lazily."""
