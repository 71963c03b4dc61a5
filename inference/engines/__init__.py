"""Engines: the only place where torch lives. They know neither Django nor the shop."""
