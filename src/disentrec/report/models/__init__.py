"""A table of all models and a page for each."""
