"""The method of Retrieve in Style: tensors in, tensors out; no files, no printing."""
