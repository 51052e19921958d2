"""Tasks: the loss, the metrics and the meaning of predictions."""
