"""Edits: a feature of one face put on another, drawn, pasted back and marked as synthetic."""
