"""`inspect`: what a run, a folder of data or results, or one of their files is."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.contents import contents
from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import show, table

_LONGEST = 60  # characters of a value in a table; all of it is in --json


def inspect(
    path: Annotated[Positional[Path], arg(metavar="RUN|FOLDER")],
    /,
    *,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Tell what a run, a folder of episodes, estimates or cells, or a file of these is.

    That is: of which problem, how large, how it was trained, the radius of its checks, the last point of its learning
    curve, which episodes were left for testing, and by which versions it was written. Nothing is computed.

    Args:
        path: the folder or file.
    """
    found = contents(path)
    parts = {name: value for name, value in found.items() if isinstance(value, dict)}
    plain = {name: value for name, value in found.items() if name not in parts and value is not None}
    tables = [_table(found["what"], plain)]
    tables += [_table(name.replace("_", " "), part) for name, part in parts.items() if part]
    show(found, tables, as_json=shared.json)


def _table(title: str, values: dict[str, Any]):
    return table(title, ("", "value"), [(name.replace("_", " "), _shown(value)) for name, value in values.items()])


def _shown(value: Any) -> str | float | int | None:
    """A value that a line can hold."""
    if value is None or isinstance(value, int | float):
        return value
    words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 2]} …"
