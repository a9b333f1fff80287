"""Table 1: individual against composite diffusion in battles."""
