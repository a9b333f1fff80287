"""How a filter is trained: on segments of consecutive steps, through all of which gradients flow."""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.over_time import TeamFilter, build_filter
from composite_flow.fusion.over_time.segments import Segments, follow_segment, segment_losses
from composite_flow.metrics import psnr
from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import Pairs, arrays_of
from composite_flow.training.stage import HistoryRange, Stage

FEWEST_SEGMENTS = 24  # of a step: gradients of fewer are too noisy
_JUDGED = 256  # segments


def over_time_file(kind: str) -> str:
    """The checkpoint of a filter of this kind; another kind is another training."""
    return f"training-{kind}-over-time.safetensors"


def over_time_stage(
    train: HistoryDataset,
    config: TrainingConfig,
    total: int | None,
    joint: int,
    limits: HistoryRange,
    prior: Prior,
    number: int,
) -> Stage:
    """The stage of the filter.

    Args:
        train: the training data.
        config: settings, with the budget of fusion.
        total: planned steps; None where minutes alone decide.
        joint: joint histories that a step of fusion learns from; here they are divided into segments.
        limits: smallest and largest value of each history column.
        prior: of the training states.
        number: of the stage.
    """
    return Stage(
        name="over_time",
        file=over_time_file(config.over_time),
        number=number,
        config=config,
        total=total,
        samples=Segments(train, config.segment),
        build=eqx.Partial(_new_filter, config, limits, prior),
        losses=eqx.Partial(segment_losses, lost=config.lost, alone=config.alone),
        drawn=-(-max(FEWEST_SEGMENTS, joint // config.segment) // jax.device_count()) * jax.device_count(),
        judge=eqx.Partial(_judge, config.segment),
    )


def _new_filter(config: TrainingConfig, limits: HistoryRange, prior: Prior, key: PRNGKeyArray) -> TeamFilter:
    assert config.over_time != "none", "then there is no such stage"
    options = config.width, min(config.depth, _DEEPEST), config.activation
    return build_filter(config.over_time, limits, prior, *options, key=key)


_DEEPEST = 3  # layers that an agent reads by: gradients flow through many agents and steps


def _judge(length: int, team_filter: TeamFilter, held_out: Pairs) -> dict[str, float]:
    """Error and decibels of whole teams at the last step of segments."""
    assert isinstance(held_out, HistoryDataset), "joint histories are known where fusion is learned"
    error, decibels = _quality(team_filter, cast(Segments, arrays_of(Segments(held_out, length))))
    return {"validation_loss": float(error), "psnr_over_time": float(decibels)}


@eqx.filter_jit
def _quality(team_filter: TeamFilter, held_out: Segments) -> tuple[Float[Array, ""], Float[Array, ""]]:
    key_data, key_orders = jax.random.split(jax.random.key(0))
    segments, states = held_out.sample(key_data, _JUDGED)
    keys = jax.random.split(key_orders, _JUDGED)
    known = jax.vmap(lambda each, key: follow_segment(team_filter, each, key)[0])(segments.histories, keys)
    last = jnp.sum(jnp.cumprod(segments.counts, axis=1), axis=1) - 1
    rows = jnp.arange(_JUDGED)
    found, truth = known.mean[rows, last], states[rows, last]
    return jnp.mean(jnp.sum((found - truth) ** 2, axis=1)), psnr(found, truth)
