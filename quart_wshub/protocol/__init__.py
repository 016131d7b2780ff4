"""What is said on the wire, both ways: no I/O, no Trio."""
