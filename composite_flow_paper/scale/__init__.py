"""Beyond the paper: composite diffusion among a hundred sensors."""
