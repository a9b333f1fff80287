"""Figure 5: policies that act on inferred states."""
