"""The commands of the command line: each reads its files, calls the library, and returns what is to be shown."""
