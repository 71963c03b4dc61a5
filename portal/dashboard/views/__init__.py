"""Pages, one module per activity. Views translate; the activities decide."""
