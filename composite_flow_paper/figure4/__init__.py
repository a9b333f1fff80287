"""Figure 4: composite diffusion among 25 sensors."""
