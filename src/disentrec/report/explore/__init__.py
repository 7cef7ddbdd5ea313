"""The data of the explore page."""
