"""One client: its session, its queues, its nursery, and its public objects."""
