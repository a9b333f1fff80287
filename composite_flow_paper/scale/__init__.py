"""Scale, beyond the paper: composite diffusion among a hundred sensors, and what a thousand cost."""
