"""What lies within picture files: their picture data, and the little of the rest that counts."""
