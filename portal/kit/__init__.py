"""What every room needs and no room owns: money, ids, clock, queue, errors, API plumbing. No models."""
