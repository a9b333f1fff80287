"""What a live page is told: a log of events, which any number of readers follow from wherever they begin."""

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from composite_flow.files.plain_json import jsonable


class Event(NamedTuple):
    """One event; numbers rise from 1."""

    number: int
    kind: str
    text: str


class EventLog:
    """Events of one run, told by one thread and followed by others. Who comes late gets all of them."""

    def __init__(self):
        self._changed = threading.Condition()
        self._events: dict[int, Event] = {}
        self._latest: dict[str, int] = {}
        self._last, self._readers, self._closed = 0, 0, False

    def tell(self, kind: str, data: Any) -> None:
        """Add an event; numbers that are none become null."""
        text = json.dumps(jsonable(data), separators=(",", ":"))
        with self._changed:
            self._add(kind, text)

    def replace(self, kind: str, data: Any) -> None:
        """Add an event in the place of the last one of its kind, which nobody needs any more."""
        text = json.dumps(jsonable(data), separators=(",", ":"))
        with self._changed:
            self._events.pop(self._latest.get(kind, 0), None)
            self._add(kind, text)
            self._latest[kind] = self._last

    def close(self, seconds: float = 2.0) -> None:
        """Nothing more is told: `follow` ends when it has caught up, for which this waits so long at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._readers == 0, seconds)

    def follow(self, after: int, patience: float) -> Iterator[Event | None]:
        """All events after this number, as they come; None where nothing came for so many seconds."""
        self._count(1)
        try:
            while (fresh := self._wait(after, patience)) or not self._closed:
                yield from fresh or [None]
                after = fresh[-1].number if fresh else after
        finally:
            self._count(-1)

    def _wait(self, after: int, patience: float) -> list[Event]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._last > after, patience)
            return self._after(after)

    def _count(self, change: int) -> None:
        with self._changed:
            self._readers += change
            self._changed.notify_all()

    def _add(self, kind: str, text: str) -> None:
        self._last += 1
        self._events[self._last] = Event(self._last, kind, text)
        self._changed.notify_all()

    def _after(self, number: int) -> list[Event]:
        """From the newest back, so that who has nearly all does not go through all."""
        fresh = itertools.takewhile(lambda event: event.number > number, reversed(self._events.values()))
        return list(fresh)[::-1]
