"""What scripts/bench measures, by group, what is aimed at, and the history of it."""
