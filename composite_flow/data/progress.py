"""How a long job reports its progress to the caller."""

from collections.abc import Callable

CountProgress = Callable[[int, int], None]
"""Called with the number of things that are done and the number of all."""
