"""Jointly, beyond the paper: worlds whose joint history tells what no agent's history tells alone."""
