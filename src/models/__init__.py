"""Networks, one per file, independent of Lightning and Hydra. They map float images to logits or images."""
