"""Training that goes on from an earlier model's weights, on new episodes, and for agents that were not there before.

The weights of a new agent's identity are the mean of those of the others: it begins as a usual member of the team.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.history import HistoryLayout
from composite_flow.model import Model
from composite_flow.network import Network, empty_network, network_settings

_ALIKE = ("length", "observation_size", "num_actions", "choices", "observation_names")


def starting_networks(model: Model, layout: HistoryLayout, state_size: int) -> Mapping[str, Any]:
    """The networks of a model by the names of their stages, for histories of a layout.

    A team denoiser is not among them where agents are new, as it is trained for the answers of its team.

    Raises:
        MismatchError: histories or states are others, or an agent of the model is missing.
        InputError: agents are new, and a network of the model cannot take any.
    """
    for name in _ALIKE:
        ours, theirs = getattr(model.layout, name), getattr(layout, name)
        if ours != theirs:
            raise MismatchError(
                f"The model to start from has {name} = {ours}, the data {theirs}; give data of its kind."
            )
    if len(model.state_names) != state_size:
        raise MismatchError(f"The model to start from is of {len(model.state_names)} state features, not {state_size}.")
    places = _places(model.layout, layout)
    found: dict[str, Any] = {}
    if not isinstance(model.denoiser, NoDenoiser):
        found["denoiser"] = _for_agents(model.denoiser, places)
    if model.fusion is not None:
        found["answers"] = _for_agents(model.fusion.answers, places)
        if model.fusion.chain is not None:
            found["chain"] = _for_agents(model.fusion.chain, places)
        if model.fusion.team_denoiser is not None and np.array_equal(places, np.arange(model.layout.num_agents)):
            found["team_denoiser"] = model.fusion.team_denoiser
    return found


def _places(before: HistoryLayout, now: HistoryLayout) -> Int[np.ndarray, " agents"]:
    """Of each agent its index in the model, −1 where it is new."""
    ours = before.agent_names or tuple(map(str, range(before.num_agents)))
    theirs = now.agent_names or tuple(map(str, range(now.num_agents)))
    lacking = [name for name in ours if name not in theirs]
    if lacking:
        raise MismatchError(f"The model to start from has the agent {lacking[0]!r}, the data have not.")
    return np.array([ours.index(name) if name in ours else -1 for name in theirs])


def _for_agents(network: Any, places: Int[np.ndarray, " agents"]) -> Any:
    """The network with the identity's weights of these agents."""
    if isinstance(network, Network | AnswerNetwork):
        agents = int(places.max()) + 1
        fields = {"history_weights": network.history_weights}
        fields |= {"history_minimum": network.history_minimum, "history_maximum": network.history_maximum}
        changed = {name: _rows(values, agents, places) for name, values in fields.items()}
        if isinstance(network, AnswerNetwork):
            changed["mean_histories"] = _mean_histories(network.mean_histories, places)
        if isinstance(network, Network):
            network = _of_size(network, len(changed["history_weights"]))
        return eqx.tree_at(lambda n: [getattr(n, name) for name in changed], network, list(changed.values()))
    if np.array_equal(places, np.arange(len(places))) and np.all(places >= 0):
        return network
    raise InputError(f"Agents that are new cannot be added to a {type(network).__name__}; train it anew.")


def _of_size(network: Network, history_size: int) -> Network:
    """The network, said to be of histories of this size; their weights are still to be given."""
    empty = empty_network({**network_settings(network), "history_size": history_size})
    names = [field.name for field in dataclasses.fields(network) if not field.metadata.get("static", False)]
    return eqx.tree_at(
        lambda n: [getattr(n, name) for name in names], empty, [getattr(network, name) for name in names]
    )


def _rows(values: Float[Array, "history *columns"], agents: int, places: Int[np.ndarray, " agents"]) -> Array:
    """The rows of all columns but the identity's, and of the identity those of these agents."""
    own, identity = values[: len(values) - agents], values[len(values) - agents :]
    return jnp.concatenate([own, _of_agents(identity, places)])


def _of_agents(values: Float[Array, "before *columns"], places: Int[np.ndarray, " agents"]) -> Array:
    """The rows of these agents; the mean of all rows for new ones."""
    rows = [values[place] if place >= 0 else values.mean(axis=0) for place in places.tolist()]
    return jnp.stack(rows)


def _mean_histories(values: Float[Array, "before history"], places: Int[np.ndarray, " agents"]) -> Array:
    own = values[:, : values.shape[1] - len(values)]
    return jnp.concatenate([_of_agents(own, places), jnp.eye(len(places), dtype=values.dtype)], axis=1)
