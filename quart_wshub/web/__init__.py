"""Everything that knows Quart."""
