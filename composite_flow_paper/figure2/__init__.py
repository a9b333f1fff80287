"""Figure 2: how far fixed points deviate on 25 sensors and in battles, and what bounds that."""
