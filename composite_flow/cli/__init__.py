"""The command line, a module for each command: it reads files, calls the library, and returns what is to be shown."""

from composite_flow.cli.app import main

__all__ = ["main"]
