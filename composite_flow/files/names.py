"""What files and the command line call by name, such as kinds of problems: a table to which users add their own.

A name is looked up in this order:

    built in          part of this library
    registered        added by Python code in the same process
    entry point       of an installed package, in the table's group
    MODULE:NAME       anything that Python can import, also from the folder in which the command runs

A name with a colon is never one of the first three, so that the four cannot be confused.
"""

import importlib
import os
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from composite_flow.errors import InputError

_NAME = re.compile(r"[A-Za-z][\w-]*")
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class Names:
    """A table of names.

    Attributes:
        what: a name stands for, as in "kind of problem".
        group: of the entry points.
    """

    def __init__(self, what: str, group: str, built_in: dict[str, Any]):
        self.what, self.group = what, group
        self._built_in, self._registered = built_in, {}

    def register(self, name: str, thing: Any) -> None:
        """Add a name, for the rest of the process.

        Raises:
            InputError: it is taken, or is not a letter followed by letters, digits, _ and -.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(f"No {self.what} can be called {name!r}: use a letter, then letters, digits, _ and -.")
        if name in self.known():
            raise InputError(f"The {self.what} '{name}' exists already; choose another name.")
        self._registered[name] = thing

    def find(self, name: str) -> Any:
        """What a name stands for; None where it is none.

        Raises:
            InputError: an entry point or a module of one's own is broken.
        """
        for table in (self._built_in, self._registered):
            if name in table:
                return table[name]
        if _REFERENCE.fullmatch(name):
            return self._imported(name)
        found = list(entry_points(group=self.group, name=name))
        return self._loaded(found) if found else None

    def is_registered(self, name: str) -> bool:
        """Whether only this process knows the name, because it was registered there."""
        return name in self._registered

    def known(self) -> tuple[str, ...]:
        """All names without a colon, in the order in which they are looked up."""
        return tuple(dict.fromkeys([*self._built_in, *self._registered, *entry_points(group=self.group).names]))

    def _loaded(self, found: list[EntryPoint]) -> Any:
        first, packages = found[0], [entry.dist.name if entry.dist else "unknown" for entry in found]
        if len({entry.value for entry in found}) > 1:
            raise InputError(
                f"The {self.what} '{first.name}' comes from several installed packages: {', '.join(packages)}; remove "
                "all but one."
            )
        try:
            return first.load()
        except Exception as error:  # whatever the package raises when it is imported
            raise InputError(
                f"The {self.what} '{first.name}' of the installed package {packages[0]} cannot be loaded from "
                f"{first.value} ({in_short(error)}); repair or remove that package."
            ) from error

    def _imported(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # last, so that no file there hides an installed package
        importlib.invalidate_caches()
        try:
            found = importlib.import_module(module)
        except Exception as error:  # whatever the module raises when it is imported
            raise InputError(
                f"'{name}' is no {self.what}, as the module {module} cannot be imported ({in_short(error)}); there are "
                f"{', '.join(self.known())}, or MODULE:NAME."
            ) from error
        if attribute not in vars(found):
            raise InputError(f"'{name}' is no {self.what}: the module {module} has no '{attribute}'.")
        return vars(found)[attribute]


def in_short(error: BaseException) -> str:
    """An error's kind and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
