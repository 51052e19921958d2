"""Metrics that torchmetrics does not have in the form the tasks need."""
