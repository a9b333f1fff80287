"""Training of baselines: the steps of `optimiser.py` on another network or another loss, for a number of steps."""

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import Pairs, arrays_of, pair_losses
from composite_flow.training.optimiser import Task, TrainingState, fresh_state, steps_in_parts

_FIRST_WIDTH = 64  # tried by `matching_width`

Losses = Callable[..., Float[Array, " batch"]]
Validate = Callable[[Any], float]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedBaseline:
    """A trained baseline and its learning curve.

    Attributes:
        last: the network after all steps.
        best: the network with the smallest validation error; `last` where there was no validation.
        best_step: the step at which it was reached.
        curves: one point for each evaluation: step, loss, and the validation error where there is one.
    """

    last: Any
    best: Any
    best_step: int
    curves: tuple[dict[str, int | float], ...]


def train_baseline(
    build: Callable[[PRNGKeyArray], Any],
    train: Pairs,
    config: TrainingConfig,
    *,
    key: PRNGKeyArray,
    losses: Losses = pair_losses,
    validate: Validate | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainedBaseline:
    """Train a network with the same steps, batches, learning rates and averages as `fit`.

    Args:
        build: returns the untrained network, an Equinox module of arrays, for a key; `building` makes one that is not
            compiled anew for each training.
        train: the data from which batches are drawn; they must be in memory.
        config: settings; those of the network count only as far as `build` uses them. The budget is `steps`.
        key: random key, which determines initial weights, batches and noise.
        losses: returns the loss of each pair, from (network, histories, states, key).
        validate: returns the error of a network on held-out data; called every `evaluate_every` steps.
        progress: called every `evaluate_every` steps with the step, the planned steps and the loss.

    Raises:
        InputError: the budget is not in steps, or a loss is not finite.
    """
    if config.steps is None or config.minutes is not None:
        raise InputError("A baseline is trained for a number of steps; give the budget as steps alone.")
    state, task = _start(build, train, config, key, losses)
    curves: list[dict[str, int | float]] = []
    best, smallest, step = None, math.inf, 0
    for step, loss, state in steps_in_parts(task, state, config.steps, config.evaluate_every):  # noqa: B020 (begins with it)
        curves.append({"step": step, "loss": loss})
        if validate is not None:
            curves[-1]["validation"] = error = validate(state.denoiser)
            if error < smallest:
                # a copy, since the next steps reuse the buffers
                best, smallest = (jax.tree.map(jnp.copy, state.denoiser), step), error
        if progress is not None:
            progress(step, config.steps, loss)
    network, best_step = (state.denoiser, step) if best is None else best
    return TrainedBaseline(state.denoiser, network, best_step, tuple(curves))


def _start(build, train, config: TrainingConfig, key: PRNGKeyArray, losses: Losses) -> tuple[TrainingState, Task]:
    """The state before the first step, and the task that steps read."""
    schedule = config.rate_schedule(config.steps)
    task = Task(arrays_of(train), key, schedule, config.batch, config.average, losses, config.precision)
    return fresh_state(build, key, config.average > 0), task


def building(network: Callable[..., Any], *arguments: Any) -> Callable[[PRNGKeyArray], Any]:
    """`network(*arguments, key=key)` as a function of the key, compiled once for all arguments of the same shapes."""
    return eqx.Partial(_built, network, arguments)


def _built(network: Callable[..., Any], arguments: tuple[Any, ...], key: PRNGKeyArray) -> Any:
    return network(*arguments, key=key)


def num_parameters(network: Any) -> int:
    """The number of parameters of a network, which may be given by its shapes alone."""
    return sum(leaf.size for leaf in jax.tree.leaves(network) if hasattr(leaf, "shape"))


def matching_width(build: Callable[[int, PRNGKeyArray], Any], target: int) -> int:
    """The width at which a network's number of parameters is nearest to `target`.

    Args:
        build: returns the network of a width; its number of parameters must increase with the width.
        target: the wanted number of parameters.
    """

    @cache
    def count(width: int) -> int:
        if width == 0:
            return 0
        return num_parameters(eqx.filter_eval_shape(lambda key: build(width, key), jax.random.key(0)))

    low, high = 0, _FIRST_WIDTH  # count(low) < target <= count(high), but for low = 0
    while count(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        # layers have width × width weights, so that √count is nearly linear in the width
        part = (math.sqrt(target) - math.sqrt(count(low))) / (math.sqrt(count(high)) - math.sqrt(count(low)))
        middle = min(max(round(low + part * (high - low)), low + 1), high - 1)
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return high if low == 0 or count(high) - target <= target - count(low) else low
