"""Tasks: loss, metrics and what a prediction means."""
