"""Figure 3: what makes fixed points deviate."""
