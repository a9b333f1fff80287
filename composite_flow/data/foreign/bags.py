"""Bags of ROS 1 and 2, MCAP among them: fields of topics as columns, at a stated rate.

Times are those of the messages' headers, and of the recording where they have none. At each time of the grid a column
holds the last value before it; nothing before the first one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError, InputError


@dataclass(frozen=True)
class Bags:
    """Bags as a table that is read bag by bag: columns by name, for `Episodes.from_table` with a folder.

    Attributes:
        paths: of the bags.
        fields: of each column its topic and field.
        rate: rows a second.
    """

    paths: tuple[Path, ...]
    fields: Mapping[str, tuple[str, str]]
    rate: float

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of all columns."""
        return ("episode", "time", *self.fields)

    def parts(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of each bag."""
        return (_table(number, path, self.fields, self.rate) for number, path in enumerate(self.paths))


def bag_table(bags: str | Path | Sequence[str | Path], columns: Mapping[str, str], rate: float) -> Bags:
    """The columns of one or more bags, each an episode, for `Episodes.from_table` with episode="episode", step="time".

    Args:
        bags: files or folders.
        columns: of each column its topic and field, such as "/robot1/odom:pose.pose.position.x".
        rate: rows a second.

    Returns:
        The columns, beside "episode", the number of the bag, and "time" in seconds since the bag began. A value is NaN
        before the first message. Bags are read when the table is.

    Raises:
        InputError: a column or the rate cannot be used; when read, rosbags is not installed.
        FileError: when read, a bag cannot be, lacks a topic, or its clock runs backwards.
    """
    if not rate > 0 or not np.isfinite(rate):
        raise InputError(f"rate must be a positive number of rows a second, not {rate}.")
    paths = [bags] if isinstance(bags, str | Path) else list(bags)
    if not paths or not columns:
        raise InputError("Name at least one bag and one column.")
    fields = {name: _topic_and_field(name, where) for name, where in columns.items()}
    return Bags(tuple(map(Path, paths)), fields, rate)


def _topic_and_field(name: str, where: str) -> tuple[str, str]:
    topic, separator, field = where.partition(":")
    if not separator or not topic or not field:
        raise InputError(
            f"The column {name!r} is to be TOPIC:FIELD, such as '/odom:pose.pose.position.x', not {where!r}."
        )
    return topic, field


def _table(number: int, path: Path, fields: Mapping[str, tuple[str, str]], rate: float) -> dict[str, np.ndarray]:
    """The columns of one bag."""
    recorded = _recorded(path, fields)
    starts, stops = zip(*((times[0], times[-1]) for times, _ in recorded.values()), strict=True)
    period = round(1e9 / rate)
    grid = np.arange(min(starts), max(stops) + 1, max(1, period))
    found = {"episode": np.full(len(grid), number), "time": (grid - grid[0]) / 1e9}
    for name, (times, values) in recorded.items():
        last = np.searchsorted(times, grid, side="right") - 1
        found[name] = np.where(last >= 0, values[np.maximum(last, 0)], np.nan)
    return found


def _recorded(path: Path, fields: Mapping[str, tuple[str, str]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The times of each column in nanoseconds, and its values."""
    reader_class = _reader()
    if not path.exists():
        raise FileError(f"{path} does not exist.")
    wanted: dict[str, list[tuple[str, str]]] = {}
    for name, (topic, field) in fields.items():
        wanted.setdefault(topic, []).append((name, field))
    times: dict[str, list[int]] = {topic: [] for topic in wanted}
    values: dict[str, list[float]] = {name: [] for name in fields}
    try:
        with reader_class([path]) as reader:
            lacking = [topic for topic in wanted if topic not in reader.topics]
            if lacking:
                raise FileError(f"{path} has no topic {lacking[0]!r}; it has {', '.join(sorted(reader.topics)[:8])}.")
            connections = [c for c in reader.connections if c.topic in wanted]
            for connection, recorded, raw in reader.messages(connections):
                message = reader.deserialize(raw, connection.msgtype)
                time = _stamp(message, recorded)
                _check_clock(path, connection.topic, times[connection.topic], time)
                times[connection.topic].append(time)
                for name, field in wanted[connection.topic]:
                    values[name].append(_value(path, connection.topic, field, message))
    except (FileError, InputError):
        raise
    except Exception as error:  # whatever the formats' readers raise on damage
        raise FileError(f"{path} is no bag that can be read ({' '.join(str(error).split())}).") from error
    empty = [topic for topic in wanted if not times[topic]]
    if empty:
        raise FileError(f"{path} has no messages of {empty[0]!r}.")
    of_topic = {name: np.asarray(times[topic]) for name, (topic, _) in fields.items()}
    return {name: (of_topic[name], np.asarray(values[name], np.float64)) for name in fields}


def _reader() -> Any:
    try:
        from rosbags.highlevel import AnyReader
    except ImportError as error:
        raise InputError(
            "Bags are read by rosbags, which is not installed; run pip install 'composite-flow[rosbags]'."
        ) from error
    return AnyReader


def _check_clock(path: Path, topic: str, times: list[int], time: int) -> None:
    """Refuse a clock that runs backwards."""
    if times and time < times[-1]:
        raise FileError(f"{path}: the clock of {topic!r} runs backwards at {time / 1e9:.6f} s; cut the bag there.")


def _stamp(message: Any, recorded: int) -> int:
    """When a message was made, by its own header, in nanoseconds; where it has none, when it was recorded."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    return recorded if stamp is None else int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _value(path: Path, topic: str, field: str, message: Any) -> float:
    """A field of a message, such as pose.position.x or ranges[3]."""
    found = message
    for part in field.replace("[", ".").replace("]", "").split("."):
        try:
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        except (AttributeError, IndexError, TypeError) as error:
            raise InputError(
                f"{path}: messages of {topic!r} have no field {field!r}, as {part!r} is missing."
            ) from error
    if not isinstance(found, bool | int | float | np.number):
        raise InputError(f"{path}: the field {field!r} of {topic!r} is no number, but {type(found).__name__}.")
    return float(found)
