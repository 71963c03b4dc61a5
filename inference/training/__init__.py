"""Training: data, loss, optimiser, metrics, progress and cancel, apart from whoever runs it."""
