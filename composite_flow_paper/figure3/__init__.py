"""Figure 3: bounds on deviations."""
