"""Operators against onnxruntime, draw by draw."""
