"""The load generator and the side-by-side runs. See `README.md` in this folder."""
