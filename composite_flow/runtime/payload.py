"""An answer as bytes: 32, 16 or 8 bits a number, of all entries or of those with the largest weights.

With 32 bits numbers are sent as they are. With 16 and 8 bits they are the levels of `fusion.compression.quantised`:
means η/λ, other evidence and the rest on even levels, weights and precisions on even levels of their logarithm. Where
not all entries fit, a bit for each entry says whether it is there; those left out say nothing. How unlike training the
history is comes last, always with 32 bits. NumPy alone.
"""

import struct

import numpy as np

from composite_flow.errors import InputError
from composite_flow.runtime.message import RefusedMessage
from composite_flow.runtime.sent import Sent, SentShape

BITS = (32, 16, 8)
_TYPES = {32: np.dtype("<f4"), 16: np.dtype("<i2"), 8: np.dtype("i1")}
_SCALES = {32: 0, 16: 28, 8: 28}  # three of even levels, two pairs of logarithms, as float32


def payload_bytes(shape: SentShape, bits: int, entries: np.ndarray | None = None) -> int:
    """Bytes of an answer of these entries, all of them where not given."""
    chosen = np.ones(len(shape.is_number), bool) if entries is None else entries
    flags = 1 + (0 if chosen.all() else (len(chosen) + 7) // 8)
    numbers = int(chosen.sum()) + 2 * int((chosen & shape.is_number).sum()) + shape.rest
    return flags + _SCALES[bits] + bits // 8 * numbers + 4 * shape.checks


def encode(sent: Sent, shape: SentShape, bits: int = 32, most_bytes: int | None = None) -> bytes:
    """The bytes of an answer.

    Args:
        sent: the answer.
        shape: of this agent's answers.
        bits: of a number.
        most_bytes: of all; entries of the largest weight, in units of the prior's, are taken as long as they fit.

    Raises:
        InputError: unknown bits, or not one entry fits.
    """
    if bits not in BITS:
        raise InputError(f"A number is sent with 32, 16 or 8 bits, not with {bits}.")
    chosen = np.ones(len(shape.is_number), bool) if most_bytes is None else _fitting(sent, shape, bits, most_bytes)
    head = b"\x00" if chosen.all() else b"\x01" + np.packbits(chosen).tobytes()
    numbers = chosen & shape.is_number
    parts = (sent.evidence[numbers], sent.evidence[chosen & ~numbers], sent.weight[numbers], sent.precision[numbers])
    unlike = np.asarray(sent.unlike, "<f4").tobytes()
    if bits == 32:
        return head + b"".join(np.asarray(part, "<f4").tobytes() for part in (*parts, sent.rest)) + unlike
    return head + _as_levels(*parts, sent.rest, bits) + unlike


def decode(data: bytes, shape: SentShape, bits: int) -> Sent:
    """The answer in these bytes.

    Raises:
        RefusedMessage: they are none of this shape.
    """
    if bits not in BITS or not data or data[0] > 1:
        raise RefusedMessage("no answer")
    chosen, start = np.ones(len(shape.is_number), bool), 1
    if data[0] == 1:
        start += (len(chosen) + 7) // 8
        flags = np.frombuffer(data[1:start], np.uint8)
        chosen = np.unpackbits(flags, count=len(chosen)).astype(bool) if 8 * len(flags) >= len(chosen) else chosen
    if len(data) != payload_bytes(shape, bits, chosen) + (start - 1 if chosen.all() and data[0] == 1 else 0):
        raise RefusedMessage("no answer")
    numbers = chosen & shape.is_number
    sizes = [int(numbers.sum()), int((chosen & ~numbers).sum()), int(numbers.sum()), int(numbers.sum()), shape.rest]
    end = len(data) - 4 * shape.checks
    values = np.frombuffer(data[start + _SCALES[bits] : end], _TYPES[bits])
    parts = list(np.split(values, np.cumsum(sizes)[:-1]))
    if bits != 32:
        with np.errstate(over="ignore", invalid="ignore"):  # of forged scales; what is not finite is refused below
            parts = _of_levels(parts, data[start : start + _SCALES[bits]], bits)
    evidence, weight, precision = np.zeros((3, len(chosen)), np.float32)
    unlike = np.frombuffer(data[end:], "<f4")
    found = Sent(evidence, weight, precision, np.asarray(parts[4], np.float32), np.asarray(unlike, np.float32))
    found.evidence[numbers], found.evidence[chosen & ~numbers] = parts[0], parts[1]
    found.weight[numbers], found.precision[numbers] = parts[2], parts[3]
    if not shape.fits(found):
        raise RefusedMessage("no answer")
    return found


def _fitting(sent: Sent, shape: SentShape, bits: int, most_bytes: int) -> np.ndarray:
    """The entries of largest weight that fit."""
    size = np.where(shape.is_number, sent.weight / shape.unit, np.abs(sent.evidence))
    order, chosen = np.argsort(-size, kind="stable"), np.ones(len(size), bool)
    if payload_bytes(shape, bits) <= most_bytes:
        return chosen
    costs = bits // 8 * np.cumsum(np.where(shape.is_number[order], 3, 1))
    room = most_bytes - payload_bytes(shape, bits, np.zeros(len(size), bool))
    chosen[order[int(np.searchsorted(costs, room, side="right")) :]] = False
    if not chosen.any():
        least = most_bytes - room + int(costs[0])
        raise InputError(f"Not one entry of an answer fits into {most_bytes} bytes; allow {least}.")
    return chosen


def _as_levels(means, others, weights, precisions, rest, bits: int) -> bytes:
    """Scales, then levels; means are those of the weights as they are sent, as in `quantised`."""
    steps = 2 ** (bits - 1) - 1
    logs = [_log_levels(part, 2**bits - 2) for part in (weights, precisions)]
    evens = [_even_levels(part, steps) for part in (means / np.maximum(weights, 1e-37), others, rest)]
    scales = [unit for _, unit in evens] + [scale for _, *scales in logs for scale in scales]
    levels = [evens[0][0], evens[1][0], *(part for part, *_ in logs), evens[2][0]]
    dtype = _TYPES[bits]
    return struct.pack("<7f", *scales) + b"".join(part.astype(dtype).tobytes() for part in levels)


def _of_levels(parts: list[np.ndarray], scales: bytes, bits: int) -> list[np.ndarray]:
    unit_mean, unit_other, unit_rest, low_w, step_w, low_p, step_p = struct.unpack("<7f", scales)
    weight = _exponentials(parts[2], low_w, step_w, bits)
    precision = _exponentials(parts[3], low_p, step_p, bits)
    mean, others, rest = (
        levels.astype(np.float32) * np.float32(unit)
        for levels, unit in ((parts[0], unit_mean), (parts[1], unit_other), (parts[4], unit_rest))
    )
    return [mean * weight, others, weight, precision, rest]


def _even_levels(values: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """Multiples of max|values| / steps."""
    unit = float(np.max(np.abs(values), initial=0.0)) / steps
    return np.round(values / (unit or 1.0)), unit


def _log_levels(values: np.ndarray, steps: int) -> tuple[np.ndarray, float, float]:
    """Even steps of the logarithm, from −2^(bits−1) + 1 on, which leaves the lowest level for zero."""
    lowest = -(steps // 2 + 1)
    positive = values > 0
    logs = np.log(np.where(positive, values, 1.0))
    low = float(np.min(logs[positive], initial=np.inf)) if positive.any() else 0.0
    unit = (float(np.max(logs[positive], initial=-np.inf)) - low) / steps if positive.any() else 0.0
    levels = np.round((logs - low) / (unit or 1.0)) + lowest + 1
    return np.where(positive, levels, lowest), low, unit


def _exponentials(levels: np.ndarray, low: float, unit: float, bits: int) -> np.ndarray:
    lowest = -(2 ** (bits - 1))
    found = np.exp(low + (levels.astype(np.float32) - lowest - 1) * np.float32(unit))
    return np.where(levels == lowest, 0.0, found).astype(np.float32)
