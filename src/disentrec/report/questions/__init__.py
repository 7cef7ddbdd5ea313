"""Pages on open questions."""
