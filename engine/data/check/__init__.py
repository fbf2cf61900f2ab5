"""Check datasets before they are trained on: findings with their lines, repair, and token lengths."""
