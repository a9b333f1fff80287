"""Proximal policy optimisation: its loss, advantages, and the normalisation of values."""
