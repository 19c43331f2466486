"""Judgement of Containerfiles: findings with the line that they are about."""
