"""A trained network for elsewhere: ONNX, plain JSON, a page that samples in the browser."""

from gradninja.training.export.onnx import to_onnx
from gradninja.training.export.prediction import Graph, Line, Linear, traced
from gradninja.training.export.sampler_page import to_html, to_json

__all__ = ["Graph", "Line", "Linear", "to_html", "to_json", "to_onnx", "traced"]
