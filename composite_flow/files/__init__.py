"""Files that are whole or not there: checkpoints, JSON, records of runs."""
