"""Generators in formats of others, to be run without hepgan."""

from hepgan.export.onnx import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
