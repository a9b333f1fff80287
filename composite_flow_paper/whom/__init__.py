"""Whom to ask, beyond the paper: agents ranked by what their answers are worth, beside the exact greedy choice."""
