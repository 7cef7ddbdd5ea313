"""Pages that hold models against the embedded shop's truth."""
