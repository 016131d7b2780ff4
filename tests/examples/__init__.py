"""Every example, run the way its reader would run it."""
