"""Calls with an `Idempotency-Key`: a retry never runs, and so is never charged, a second time."""
