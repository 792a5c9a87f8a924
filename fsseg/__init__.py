"""fsseg: few-shot segmentation experiments on PyTorch Lightning."""

__version__ = "0.1.0"
