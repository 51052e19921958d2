"""Data modules: read data sets from files, and provide uint8 batches and facts."""
