"""Pages of single papers, and of the data."""
