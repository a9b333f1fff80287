"""Arrays of users' own logs, checked and completed: what `Episodes` holds of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.data.arrays import (
    as_actions,
    as_array,
    as_booleans,
    as_floats,
    as_numbers,
    check_alive,
    check_availability,
    check_lengths,
)
from composite_flow.data.columns import Columns
from composite_flow.data.features import (
    Feature,
    Types,
    all_declared,
    all_names,
    check_are_columns,
    features_of,
    widened,
)
from composite_flow.data.precision import as_32_bits, check_observations, check_scaled
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.errors import InputError


def default_state_names(state_size: int) -> tuple[str, ...]:
    """The names of the state's features where none were given: "state 0", "state 1", …"""
    return tuple(f"state {index}" for index in range(state_size))


def own_observations(
    values: Any, names: Sequence[str] | None, types: Types | None
) -> tuple[Float[np.ndarray, "steps agents observation"], tuple[str, ...]]:
    """Observations of any shape, flattened in C order, as float32, and their names where they have some.

    Raises:
        InputError: they cannot be used, or 32 bits merge what they tell apart.
    """
    values = flattened("observations", values, 2)
    seen = as_numbers("observations", values, 3)
    steps, agents, size = seen.shape
    if names is not None and len(names) != size:
        raise InputError(f"observation_names must have one entry for each of the {size} features, not {len(names)}.")
    features = features_of(names or [f"observation {place}" for place in range(size)], types)
    rows = seen.reshape(-1, size)
    features = [f.with_levels(rows[:, place]) for place, f in enumerate(features)]
    rows = widened(features, rows)
    check_observations(rows, all_names(features))
    seen = as_floats("observations", rows.reshape(steps, agents, rows.shape[1]), 3)
    return seen, all_names(features) if names is not None or any(f.type for f in features) else ()


def own_states(
    values: Any, known: Any, names: Sequence[str] | None, types: Types | None
) -> tuple[Float[np.ndarray, "steps state"], Bool[np.ndarray, " steps"] | None, list[Feature]]:
    """States in float32 where that loses nothing, at which steps they are known (None for all), and their features.

    A state that is NaN throughout is missing.

    Raises:
        InputError: they cannot be used, or a state misses some of its features.
    """
    states = as_numbers("states", flattened("states", values, 1), 2)
    names = default_state_names(states.shape[1]) if names is None else tuple(names)
    if len(names) != states.shape[1]:
        raise InputError(
            f"state_names and scaling must have one entry for each of the {states.shape[1]} state features."
        )
    features = [f.with_levels(states[:, place]) for place, f in enumerate(features_of(names, types))]
    there = np.asarray(~np.isnan(states).all(axis=1)) if states.shape[1] else np.ones(len(states), bool)
    if known is not None:
        told = as_booleans("known", known, 1)
        if len(told) != len(states):
            raise InputError(
                f"known must have one entry for each of the {len(states)} steps of states, not {len(told)}."
            )
        there &= told
    states = np.where(there[:, None], states, 0) if not there.all() else states
    check_finite_states(states, features)
    wide = widened(features, states)
    wide = np.where(there[:, None], wide, 0) if not there.all() else wide
    return as_32_bits(wide), None if there.all() else there, features


def check_finite_states(states: np.ndarray, features: Sequence[Feature]) -> None:
    """Refuse states that miss some of their features, or are infinite."""
    bad = ~np.isfinite(states)
    if bad.any():
        step, place = np.argwhere(bad)[0]
        raise InputError(
            f"states hold values that are NaN or infinite: {features[place].name!r} at step {step}; where a state is "
            "not known, all of its features must be NaN."
        )


def measured_scaling(
    states: Float[np.ndarray, "steps state"],
    known: Bool[np.ndarray, " steps"] | None,
    declared: Sequence[str],
    by: ScaledBy,
) -> Scaling:
    """The scaling by the states that are known.

    Raises:
        InputError: no state is known.
    """
    there = states if known is None else states[known]
    if not len(there):
        raise InputError(
            "states hold values that are NaN or infinite at every step, or known says so; some must be known."
        )
    measured = Scaling.from_quantiles(there) if by == "quantiles" else Scaling.from_states(there)
    return measured.with_types(declared)


def own_actions(values: Any, choices: Sequence[int] | None, shape: tuple[int, int]) -> tuple[np.ndarray, Any]:
    """Actions, and the options of their components; None where an action is one choice.

    Whole numbers (steps, agents) are one choice. With a third axis they have components: choices where they are whole
    numbers, numbers where they are not. None are no actions.

    Raises:
        InputError: they cannot be used.
    """
    if values is None:
        return np.zeros((*shape, 0), np.float32), ()
    array = as_array("actions", values)
    if array.ndim != 3:
        return as_actions(values), None
    if choices is None:
        whole = array.dtype.kind in "iub"
        choices = [int(np.max(array[..., k], initial=0)) + 1 if whole else 0 for k in range(array.shape[2])]
    if len(choices) != array.shape[2]:
        raise InputError(f"choices must have one entry for each of the {array.shape[2]} components of an action.")
    actions = as_floats("actions", values, 3)
    for place, options in enumerate(choices):
        part = actions[..., place]
        if options and np.any((part != np.floor(part)) | (part < 0) | (part >= options)):
            raise InputError(f"actions must be whole numbers from 0 to {options - 1} in component {place}.")
    return actions, tuple(int(options) for options in choices)


def own_availability(availability: Any, actions: np.ndarray, choices: Any, num_actions: int | None) -> np.ndarray:
    """Which actions could be taken; all of them by default. Of actions with components it has no columns then."""
    if availability is None:
        count = (int(actions.max()) + 1 if num_actions is None else num_actions) if choices is None else 0
        return np.ones((*actions.shape[:2], count), bool)
    found = as_booleans("availability", availability, 3)
    check_availability(found, actions, num_actions)
    return found


def flattened(name: str, values: Any, leading: int) -> Any:
    """Values of any shape with one last axis in place of all beyond the leading ones, in C order."""
    shape = getattr(values, "shape", None)
    if shape is None or len(shape) <= leading + 1:
        return values
    return values.reshape(*shape[:leading], math.prod(shape[leading:]))


def own_arrays(*, scaling: Scaling | ScaledBy | None, **given: Any) -> dict[str, Any]:
    """The fields of `Episodes`; arguments and errors as in `Episodes.from_arrays`."""
    found = unscaled_arrays(**given)
    states, known = found["states"], found["known"]
    if not isinstance(scaling, Scaling):
        scaling = measured_scaling(states, known, found["columns"].types, scaling or "range")
        _check_precision(states, known, scaling, found["state_names"])
    if scaling.minimum.shape[0] != states.shape[1]:
        raise InputError(
            f"state_names and scaling must have one entry for each of the {states.shape[1]} state features."
        )
    return {**found, "scaling": scaling}


def unscaled_arrays(
    *,
    observations: Any,
    actions: Any,
    states: Any,
    ends: Any,
    rewards: Any,
    availability: Any,
    num_actions: int | None,
    choices: Sequence[int] | None,
    alive: Any,
    known: Any,
    truncations: Any,
    state_names: Sequence[str] | None,
    observation_names: Sequence[str] | None,
    agent_names: Sequence[str] | None,
    observed: Any,
    types: Types | None,
    units: Mapping[str, str] | None,
) -> dict[str, Any]:
    """The fields of `Episodes` without the scaling of states; arguments and errors as in `Episodes.from_arrays`."""
    seen, seen_names = own_observations(observations, observation_names, types)
    num_steps, num_agents = seen.shape[:2]
    found, known, features = own_states(states, known, state_names, types)
    for what, named in (("types", types), ("units", units)):
        check_are_columns(what, named, observation_names or seen_names, [f.name for f in features])
    acted, components = own_actions(actions, choices, (num_steps, num_agents))
    rewarded = np.zeros(num_steps) if rewards is None else as_array("rewards", rewards)
    arrays: dict[str, Any] = {
        "observations": seen,
        "actions": acted,
        "states": found,
        "ends": as_booleans("ends", ends, 1),
        "rewards": as_floats("rewards", rewarded, 2 if rewarded.ndim == 2 else 1),
    }
    for name, given, axes in (("alive", alive, 2), ("truncations", truncations, 1)):
        if given is not None:
            arrays[name] = as_booleans(name, given, axes)
    check_lengths(arrays, num_agents)
    _check_episodes(arrays)
    arrays["availability"] = own_availability(availability, acted, components, num_actions)
    if availability is None:
        check_availability(arrays["availability"], acted, num_actions if components is None else None)
    columns = Columns(
        agents=tuple(map(str, agent_names or ())),
        observations=seen_names,
        observed=() if observed is None else tuple(tuple(map(bool, row)) for row in as_array("observed", observed)),
        choices=components,
        types=all_declared(features),
        units=dict(units or {}),
    )
    columns.check(num_agents, seen.shape[2], found.shape[1])
    return {**arrays, "known": known, "state_names": all_names(features), "columns": columns}


def _check_episodes(arrays: dict[str, Any]) -> None:
    ends = arrays["ends"]
    if "truncations" in arrays and np.any(arrays["truncations"] & ~ends):
        step = int(np.flatnonzero(arrays["truncations"] & ~ends)[0])
        raise InputError(f"truncations must be ends of episodes, but step {step} is none.")
    if "alive" in arrays:
        check_alive(arrays["alive"], np.concatenate([[0], np.flatnonzero(ends)[:-1] + 1]))


def _check_precision(states: np.ndarray, known: Any, scaling: Scaling, names: Sequence[str]) -> None:
    """Refuse states whose distinct values merge once they are scaled."""
    check_scaled(states if known is None else states[known], scaling.scale, names)
