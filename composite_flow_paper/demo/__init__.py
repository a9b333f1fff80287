"""Demo: nine sensors agree on where two targets are."""
