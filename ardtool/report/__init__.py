"""Pictures of results: scree plots, traversals, training histories. Nothing here computes a score or opens a model."""
