"""Untrained filters of each kind, and their structure as JSON."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.over_time.carried import TeamFilter
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import PredictorNetwork, ProductFilter, SpeakerNetwork
from composite_flow.fusion.over_time.reader import Reader, size_in_numbers
from composite_flow.network import Activation

FilterKind = Literal["residual", "gated", "product"]


def build_filter(
    kind: FilterKind,
    history_range: tuple[Float[Array, " history"], Float[Array, " history"]],
    prior: Prior,
    width: int = 128,
    depth: int = 3,
    activation: Activation = "relu",
    *,
    key: PRNGKeyArray,
) -> TeamFilter:
    """An untrained filter.

    Args:
        kind: a residual or gated chain, or the product.
        history_range: smallest and largest value of each history column in training.
        prior: of the training states.
        width, depth, activation: of the hidden layers that read histories; a predictor has two.
        key: random key.

    Raises:
        InputError: a kind that is not known, or a size below one.
    """
    if kind not in get_args(FilterKind):
        raise InputError(f"A filter is one of {', '.join(get_args(FilterKind))}, not {kind!r}.")
    key_reader, key_rest = jax.random.split(key)
    if kind == "product":
        reader = Reader(history_range, size_in_numbers(prior), width, depth, activation, key=key_reader)
        speaker, predictor = SpeakerNetwork(reader, prior), PredictorNetwork(prior, width, key=key_rest)
        return ProductFilter(speaker=speaker, predictor=predictor, prior=prior)
    reader = Reader(history_range, len(prior.mean) + 1, width, depth, activation, key=key_reader)
    return ChainFilter(kind, reader, prior, key=key_rest)


def filter_settings(team_filter: TeamFilter) -> dict[str, Any]:
    """What `empty_filter` needs, beside the prior; JSON-able.

    Raises:
        InputError: it is none that `build_filter` makes.
    """
    if isinstance(team_filter, ChainFilter):
        kind, reader = team_filter.kind, team_filter.reader
    elif isinstance(team_filter, ProductFilter) and isinstance(team_filter.speaker, SpeakerNetwork):
        kind, reader = "product", team_filter.speaker.reader
    else:
        raise InputError("Only filters that were trained by this library can be saved.")
    depth, width = reader.biases.shape
    sizes = {"history_size": len(reader.history_minimum), "width": width, "depth": depth}
    return {"kind": kind, **sizes, "activation": reader.activation}


def empty_filter(
    kind: FilterKind, history_size: int, width: int, depth: int, activation: Activation, prior: Prior
) -> TeamFilter:
    """The same structure without its weights."""
    limits = jnp.zeros(history_size), jnp.ones(history_size)
    return build_filter(kind, limits, prior, width, depth, activation, key=jax.random.key(0))
