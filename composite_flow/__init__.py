"""Infer the state of a world that no agent sees whole."""
