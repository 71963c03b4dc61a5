"""A marketplace of any size, made in SQL where it lies: listings by the million, usage by the ten million."""
