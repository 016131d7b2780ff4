"""One client: its session, its queues, its nursery, and what apps see of it."""
