"""The paper's experiments on a store."""
