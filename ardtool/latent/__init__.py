"""The mathematics of latent axes, one idea a file. Nothing here touches files or prints."""
