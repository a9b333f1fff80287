"""Simulators of other libraries that are written in JAX, compiled into the same program as everything else."""
