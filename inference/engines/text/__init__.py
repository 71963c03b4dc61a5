"""Text generation: iteration-level continuous batching over transformers causal models."""
