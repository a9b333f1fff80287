"""Numerical methods that know nothing about agents: eigenvalues, ranks, linear systems, merging, batches, kernel."""
