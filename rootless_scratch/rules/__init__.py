"""Judgement: rules on programs, plans, images and hosts."""
