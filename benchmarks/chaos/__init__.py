"""Kill every process of the running system at random moments under load, and check that the books agree."""
