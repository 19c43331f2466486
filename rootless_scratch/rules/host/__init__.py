"""Rules on this host: what works here, and why not."""
