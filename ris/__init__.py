"""The method of Retrieve in Style: tensors in, tensors out; no files, no printing."""

__version__ = "0.1.0"
