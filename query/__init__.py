"""A photo or an id to ranked faces: search, filters, contact sheets."""
