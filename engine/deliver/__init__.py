"""What happens with a trained model: talk to it, compare it. Torch is loaded only in the worker processes."""
