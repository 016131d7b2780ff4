"""The transport seam and its implementations: one connection's bytes."""
