"""Benchmarks with their peers side by side in one run. `make bench`, or `make bench ONLY=gateway`."""
