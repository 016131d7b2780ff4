"""Brokers: they make one hub out of several processes."""
