"""The paper's method, one module an idea: tensors in, tensors out."""
