"""Networks behind HTTP: the predictors and codecs of `imagier.deploy`, shared by concurrent requests."""
