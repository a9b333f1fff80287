"""Steps of Adam on the denoising loss or on another one, many steps in one compiled call.

Step t draws its batch and its noise from `fold_in(key, t)` alone, and the number of steps of a call is not a constant
of the compiled program. So the bits of the result do not depend on how a run was divided into calls.

Matrix products in bfloat16 round their factors to it and sum in float32; weights, gradients and everything else stay
in float32.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.training.devices import split, whole
from composite_flow.training.loss import Pairs, pair_losses

MatmulPrecision = Literal["float32", "bfloat16"]

_INIT = 2**32 - 1  # folded into the key for the initial weights; no step has this number

# Clipping protects units from single batches with large gradients, at high rates and before Adam's averages are good.
_ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


class TrainingState(eqx.Module):
    """The part of a training run that every step changes.

    Attributes:
        network: the network in training, an Equinox module of arrays.
        average: the running average of its weights; None where it is not used.
        optimiser: Adam's moments.
        step: number of steps made.
        loss_sum: sum of the steps' losses since it was last set to zero.
    """

    network: Any
    average: Any
    optimiser: optax.OptState
    step: Int[Array, ""]
    loss_sum: Float[Array, ""]

    @property
    def denoiser(self) -> Any:
        """The network to evaluate and to keep."""
        return self.network if self.average is None else self.average


class Schedule(eqx.Module):
    """The learning rate: a linear rise to the highest rate, and a cosine to zero over the budget.

        rate(t) = highest · min(1, (t + 1) / warmup) · (1 + cos(π min(1, max(t · per_step, elapsed)))) / 2

    Attributes:
        highest: rate after the rise.
        warmup: steps of the rise, at least one.
        per_step: share of the budget in steps that one step uses; 0 where there is no such budget or no cosine.
        elapsed: share of the budget in time that is used; 0 where there is no such budget or no cosine.
    """

    highest: Float[Array, ""]
    warmup: Float[Array, ""]
    per_step: Float[Array, ""]
    elapsed: Float[Array, ""]

    def rate(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The learning rate of a step."""
        time = step.astype(jnp.float32)
        progress = jnp.maximum(time * self.per_step, self.elapsed)
        rise = jnp.minimum(1.0, (time + 1.0) / self.warmup)
        return self.highest * rise * (1.0 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0))) / 2.0


class Task(eqx.Module):
    """The part of a training run that steps read but do not change.

    Attributes:
        dataset: the dataset from which pairs are drawn.
        key: random key of the run.
        schedule: the schedule of the learning rate.
        batch: number of pairs that a step draws.
        average: decay of the averaged weights; 0 where they are not used.
        losses: returns the loss of each pair, from (network, histories, states, key).
        precision: type of the factors in matrix products.
        mesh: the devices that share the batch; None where there is only one.
    """

    dataset: Pairs
    key: PRNGKeyArray
    schedule: Schedule
    batch: int = eqx.field(static=True)
    average: float = eqx.field(static=True)
    losses: Callable[..., Float[Array, " batch"]] = eqx.field(static=True, default=pair_losses)
    precision: MatmulPrecision = eqx.field(static=True, default="float32")
    mesh: Mesh | None = eqx.field(static=True, default=None)


def initial_state(network: Any, averaged: bool) -> TrainingState:
    """The state before the first step."""
    average = jax.tree.map(jnp.copy, network) if averaged else None
    optimiser = _ADAM.init(network)  # pyright: ignore[reportArgumentType] (Optax types pytrees as arrays)
    return TrainingState(network, average, optimiser, jnp.array(0, jnp.int32), jnp.array(0.0, jnp.float32))


@eqx.filter_jit
def fresh_state(build: Callable[[PRNGKeyArray], Any], key: PRNGKeyArray, averaged: bool) -> TrainingState:
    """The state before the first step of the network that `build` returns for a key.

    Compiled once for all networks of one shape where `build` is an `eqx.Partial` of a function of a module.
    """
    return initial_state(build(jax.random.fold_in(key, _INIT)), averaged)


@eqx.filter_jit(donate="all-except-first")
def train_steps(task: Task, state: TrainingState, count: Int[Array, ""]) -> TrainingState:
    """Make `count` steps; the new state reuses the buffers of the given one, which must not be used afterwards."""
    with _products(task.precision):
        return jax.lax.fori_loop(0, count, lambda _, state: whole(train_step(task, state), task.mesh), state)


def steps_in_parts(
    task: Task, state: TrainingState, total: int, every: int
) -> Iterator[tuple[int, float, TrainingState]]:
    """Make `total` steps, and after every so many of them tell how many there were, their mean loss, and the state.

    The next part reuses the buffers of the state; copy what is to be kept.

    Raises:
        InputError: a loss is not finite.
    """
    step = 0
    while step < total:
        count = min(every, total - step)
        state = train_steps(task, state, jnp.array(count))
        step, loss = step + count, float(state.loss_sum) / count
        if not math.isfinite(loss):
            raise InputError(f"The loss is no longer finite near step {step}; lower learning_rate.")
        state = eqx.tree_at(lambda state: state.loss_sum, state, jnp.float32(0.0))  # no weak type, or it compiles again
        yield step, loss, state


def _products(precision: MatmulPrecision) -> AbstractContextManager:
    """A context in which traced matrix products and their gradients have this precision."""
    return nullcontext() if precision == "float32" else jax.default_matmul_precision("BF16_BF16_F32")


def train_step(task: Task, state: TrainingState) -> TrainingState:
    """One step of Adam; a compiled loop can call it."""
    key_pairs, key_noise = jax.random.split(jax.random.fold_in(task.key, state.step))
    histories, states = split(task.dataset.sample(key_pairs, task.batch), task.mesh)
    loss, gradient = eqx.filter_value_and_grad(_mean_loss)(state.network, histories, states, key_noise, task.losses)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # Optax mixes weak types
        update, optimiser = _ADAM.update(gradient, state.optimiser)
    rate = task.schedule.rate(state.step)
    network = jax.tree.map(lambda weights, change: weights - rate * change, state.network, update)
    average = None if state.average is None else _averaged(state.average, network, state.step, task.average)
    return TrainingState(network, average, optimiser, state.step + 1, state.loss_sum + loss)


def _mean_loss(network, histories, states, key, losses) -> Float[Array, ""]:
    return jnp.mean(losses(network, histories, states, key))


def _averaged(average: Any, network: Any, step: Int[Array, ""], decay: float) -> Any:
    """The running average; in the first steps its memory is shorter, so that the initial weights are forgotten."""
    early = (1.0 + step.astype(jnp.float32)) / (10.0 + step.astype(jnp.float32))
    keep = 1.0 - jnp.minimum(decay, early)
    # This form leaves what is not trained exactly as it is.
    return jax.tree.map(lambda old, new: old + keep * (new - old), average, network)
