"""Episodes on disk, collecting them, and turning them into (history, state) pairs."""
