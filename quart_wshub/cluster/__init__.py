"""One hub out of many nodes: what nodes say to each other over a broker, and what a node makes of it."""
