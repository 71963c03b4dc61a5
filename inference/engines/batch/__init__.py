"""Embeddings and classification: one forward pass per item, many items per pass."""
