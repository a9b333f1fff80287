"""Figure 1: fixed points and states of four sensors."""
