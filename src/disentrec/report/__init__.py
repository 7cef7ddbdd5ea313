"""The door to the book: tables and figures computed from run records, and the book itself."""
