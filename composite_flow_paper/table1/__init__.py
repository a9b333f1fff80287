"""Table 1: composite against individual diffusion in battles."""
