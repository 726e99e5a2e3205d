"""Decoders as files that run without ardtool: exported PyTorch programs (.pt2) and ONNX, checked in a fresh process."""
