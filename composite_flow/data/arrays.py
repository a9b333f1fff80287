"""Checks of the users' own arrays; each fault has its own sentence."""

from typing import Any

import numpy as np

from composite_flow.errors import InputError


def as_array(name: str, values: Any) -> np.ndarray:
    """The values as a NumPy array of any number of axes, masked where they are.

    Raises:
        InputError: its rows differ in length.
    """
    try:
        return values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} must be one array, but its rows differ in length.") from error


def _array(name: str, values: Any, num_axes: int) -> np.ndarray:
    """The values as a NumPy array, once it is known to hold numbers and to have this number of axes.

    What is masked becomes NaN.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled() if not np.ma.is_masked(values) else np.ma.filled(values.astype(np.float64), np.nan)
    array = as_array(name, values)
    if array.ndim != num_axes:
        raise InputError(f"{name} must have {num_axes} axes, not {array.ndim}.")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must hold numbers, not {array.dtype}.")
    return array


def as_floats(name: str, values: Any, num_axes: int) -> np.ndarray:
    """The values as float32 of their own, once they are known to be finite."""
    with np.errstate(over="ignore"):
        array = np.array(_array(name, values, num_axes), dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold values that are NaN or infinite in float32.")
    return array


def as_numbers(name: str, values: Any, num_axes: int) -> np.ndarray:
    """The values as they are, in float64 where they are no float32; NaN stands for what is missing."""
    array = _array(name, values, num_axes)
    return np.array(array, dtype=np.float32 if array.dtype in (np.float32, np.float16) else np.float64, order="C")


def as_booleans(name: str, values: Any, num_axes: int) -> np.ndarray:
    """The values as booleans; zeros and ones are accepted too."""
    array = _array(name, values, num_axes)
    if not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} must hold booleans, or zeros and ones.")
    return np.array(array, dtype=bool, order="C")


def as_actions(values: Any) -> np.ndarray:
    """The actions as int32, once they are known to be whole numbers from 0."""
    array = _array("actions", values, 2)
    if array.dtype.kind not in "iu" or np.any(array < 0) or np.any(array > np.iinfo(np.int32).max):
        raise InputError("actions must be whole numbers from 0, of an integer type.")
    return np.array(array, dtype=np.int32, order="C")


def check_lengths(arrays: dict[str, np.ndarray], num_agents: int) -> None:
    """Refuse arrays that differ in their steps or agents, or whose last step does not end an episode."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"All arrays must have the same number of steps, but they have: {listed}.")
    if not lengths["ends"]:
        raise InputError("There must be at least one step.")
    for name in ("actions", "alive"):
        if name in arrays and (arrays[name].shape[1] != num_agents or num_agents == 0):
            raise InputError(
                f"observations are of {num_agents} agents and {name} of {arrays[name].shape[1]}; "
                "they must be of the same agents, at least one."
            )
    if arrays["states"].shape[1] == 0 or arrays["observations"].shape[2] == 0:
        raise InputError("States and observations must have at least one feature.")
    if not arrays["ends"][-1]:
        raise InputError("The last step must end an episode: set ends[-1] to True or drop the unfinished episode.")


def check_availability(availability: np.ndarray, actions: np.ndarray, num_actions: int | None) -> None:
    """Refuse an availability whose shape does not fit to the actions, or that lacks one of them."""
    if availability.shape[:2] != actions.shape[:2] or (
        num_actions is not None and availability.shape[2] != num_actions
    ):
        raise InputError(
            f"availability must have the shape (steps, agents, actions) = "
            f"{(*actions.shape[:2], num_actions if num_actions is not None else 'actions')}, not {availability.shape}."
        )
    if actions.ndim == 2 and actions.max() >= availability.shape[2]:
        raise InputError(f"actions hold {actions.max()}, but there are only {availability.shape[2]} actions, from 0.")


def check_alive(alive: np.ndarray, starts: np.ndarray) -> None:
    """Refuse agents that come back within an episode after they were gone."""
    began = np.zeros_like(alive)
    began[1:] = alive[1:] & ~alive[:-1]
    began[starts] = alive[starts]
    times = np.cumsum(began, axis=0)
    before = np.concatenate([np.zeros_like(times[:1]), times])[starts]
    back = (times - np.repeat(before, np.diff([*starts, len(alive)]), axis=0) > 1) & began
    if back.any():
        step, agent = np.argwhere(back)[0]
        raise InputError(f"alive says that agent {agent} returns from the dead at step {step}; who is gone stays so.")
