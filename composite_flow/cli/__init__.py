"""The command line, a module for each command: it reads files, calls the library, and returns what is to be shown."""

from composite_flow.cli.app import FAILED, INTERRUPTED, cache_folder, main

__all__ = ["FAILED", "INTERRUPTED", "cache_folder", "main"]
