"""Brokers: what makes one hub out of several processes."""
