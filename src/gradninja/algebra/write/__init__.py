"""From terms to text: expression trees, axes, PyTorch's syntax."""
