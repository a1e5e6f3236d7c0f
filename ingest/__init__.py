"""Photos to rows: sources, decoding, inversion, embedding, the ingest loop."""
