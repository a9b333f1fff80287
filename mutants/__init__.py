"""Does a test notice when a line of the core changes? `python -m mutants.check` draws changes and runs the tests."""
