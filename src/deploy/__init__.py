"""From a trained net to answers: bundles, graphs, predictors. Knows neither Lightning nor Hydra."""
