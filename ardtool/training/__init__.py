"""Settings, the training loop, and its interruption-proof state."""
