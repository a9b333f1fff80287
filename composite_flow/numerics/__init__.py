"""Numerical methods that know nothing of agents: eigenvalues, ranks, merged points, batches, the kernel."""
