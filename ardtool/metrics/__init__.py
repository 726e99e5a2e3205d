"""Metrics on tensors. Nothing here touches files or prints."""
