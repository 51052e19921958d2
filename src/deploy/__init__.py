"""Deployment of trained networks: bundles, graphs, runtimes and predictors, without Lightning or Hydra."""
