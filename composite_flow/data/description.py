"""What a shard says of its episodes beside their arrays: names, scaling, problem, policy, and what columns mean.

What shows only once all shards are written, such as which features each agent observes, the last shard tells.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from composite_flow.data.columns import Columns
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import ShardHeader
from composite_flow.errors import FileError, InputError


def shard_description(
    names: tuple[str, ...],
    scaling: Scaling,
    problem: dict[str, Any],
    policy: dict[str, Any],
    measured: bool = False,
    columns: Columns | None = None,
) -> dict[str, Any]:
    """The description that a shard holds beside its arrays.

    Args:
        names: a name for each feature of the state.
        scaling: the scaling of the states, or the range of the shard's own states.
        problem: the problem's description.
        policy: the policy's description.
        measured: whether `scaling` is the range of the shard's own states; then all shards together give the scaling.
        columns: what the columns mean.
    """
    minimum, maximum = np.asarray(scaling.minimum).tolist(), np.asarray(scaling.maximum).tolist()
    told = {} if columns is None else columns.settings
    return {
        "state_names": list(names),
        "scaling": {"minimum": minimum, "maximum": maximum, "measured": measured, "by": scaling.by},
        "problem": problem,
        "policy": policy,
        **({"columns": told} if told else {}),
    }


def read_description(headers: Sequence[ShardHeader]) -> dict[str, Any]:
    """The names, scaling, problem, policy and columns of a folder of shards, by the names of `Episodes`' fields.

    Raises:
        FileError: a part is missing, or does not belong to the arrays.
    """
    first, last = headers[0], headers[-1]
    try:
        scaling, names = _scaling(headers), tuple(first.description["state_names"])
        found = {"state_names": names, "scaling": scaling, "description": first.description["problem"]}
        columns = Columns.from_settings(last.description.get("columns", {}))
        num_agents, observation_size = first.shapes["observations"][1:]
        columns.check(num_agents, observation_size, len(names))
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise FileError(f"{first.path.parent} is damaged: its description lacks a part ({error}).") from error
    if len(names) != len(scaling.minimum) or first.shapes["states"][1] != len(names):
        raise FileError(f"{first.path} is damaged: it does not name and scale each feature of the state.")
    policy = dict(first.description.get("policy", {}))  # earlier versions did not write it
    return {**found, "policy": policy, "columns": columns}


def _scaling(headers: Sequence[ShardHeader]) -> Scaling:
    """The scaling of all shards; ranges that were measured for each shard are merged."""
    scalings = [header.description["scaling"] for header in headers]
    kept = np.float64 if any(header.dtypes["states"] == np.float64 for header in headers) else np.float32
    if not all(scaling["measured"] for scaling in scalings):
        last = scalings[-1]
        given = np.asarray([last["minimum"], last["maximum"]], kept)
        return Scaling.of_limits(given[0], given[1], last.get("by", "given"))
    minimum = np.asarray([scaling["minimum"] for scaling in scalings], kept).min(axis=0)
    maximum = np.asarray([scaling["maximum"] for scaling in scalings], kept).max(axis=0)
    types = headers[-1].description.get("columns", {}).get("types", ())
    return Scaling.from_range(minimum, maximum).with_types(types)
