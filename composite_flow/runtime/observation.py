"""Observations as they come in on a topic: a JSON object, or float32 numbers as they are."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from composite_flow.errors import InputError

Parse = Callable[[bytes], dict[str, Any]]
"""Reads the arguments of `observe` from bytes."""


def parse_json(data: bytes) -> dict[str, Any]:
    """The arguments of `observe` in a JSON object: `observation`, and where they are known `action`, `step`, `begins`.

    Raises:
        InputError: it is none.
    """
    try:
        told = json.loads(data)
        step = told.get("step")
        found = {"observation": np.asarray(told["observation"], np.float32), "begins": bool(told.get("begins", False))}
        return {**found, "action": told.get("action"), "step": None if step is None else int(step)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"An observation is a JSON object with `observation`: {error}.") from None


def parse_numbers(data: bytes) -> dict[str, Any]:
    """The same of float32 numbers as they are; InputError where they are none."""
    if len(data) % 4:
        raise InputError("An observation is float32 numbers, of four bytes each.")
    return {"observation": np.frombuffer(data, "<f4")}
