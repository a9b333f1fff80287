"""Tables of logs, as CSV or Parquet files or as frames: a row for each agent at each step, or one for each step."""
