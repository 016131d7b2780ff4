"""Who gets what, and in which order."""
