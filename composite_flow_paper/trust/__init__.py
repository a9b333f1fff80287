"""Trust, beyond the paper: how often promises hold, also under shift, and which broken sensors are named."""
