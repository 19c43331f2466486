"""Judgement of a Containerfile: each finding with the line that it is about, and what to write there."""
