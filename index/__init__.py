"""Rows to per-feature indices: exact scan and FAISS kinds."""
