"""Figure 2: deviated fixed points."""
