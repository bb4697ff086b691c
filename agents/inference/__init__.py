"""Signals of trained models: ONNX policies, and the placeholder where there is none."""
