"""Over time, beyond the paper: what a team carries from step to step beside the exact filter."""
