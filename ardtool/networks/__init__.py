"""Encoders and decoders, described as data and built from a record that travels in the model file."""
