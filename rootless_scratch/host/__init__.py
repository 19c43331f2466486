"""Facts about the host: what it has, what it allows; no judgement."""
