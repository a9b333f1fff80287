"""What an exported agent says of its own history alone, and what answers say of every feature."""

from typing import Any

import numpy as np

from composite_flow.export.standalone.exported import Exported
from composite_flow.runtime.sent import Sent


def said(exported: Exported, history: np.ndarray) -> Sent:
    """What a history says of the present step, to be sent to all others."""
    parts = (part[0] for part in exported.call("answer", history=history[None]))
    evidence, weight, precision, rest, *unlike = parts
    unlike = np.minimum(unlike[0], np.finfo(np.float32).max) if unlike else np.zeros(0, np.float32)
    return Sent(evidence, weight, precision, rest, unlike)


def whole(about: dict[str, Any], sender: int, sent: Sent) -> Sent:
    """An answer of every feature, as it is summed up along a tree."""
    rest = sent.rest if about["slots"] is None else sent.rest[:0]
    evidence, weight, precision = spread(about, sender, sent)
    return Sent(evidence, weight, precision, rest, sent.unlike[:0])


def spread(about: dict[str, Any], sender: int, sent: Sent) -> np.ndarray:
    """Evidence, weight and precision of every feature (3, state)."""
    size = len(about["state_names"])
    if about["slots"] is None:
        return np.stack(sent[:3])
    places, found = np.asarray(about["slots"][sender]), np.zeros((3, size), np.float32)
    for row, part in zip(found, sent[:3], strict=True):
        np.add.at(row, places[places < size], part[places < size])
    found[0] += sent.rest[0] * np.where(about["is_number"], about["prior"]["precision"], 1.0)
    return found
