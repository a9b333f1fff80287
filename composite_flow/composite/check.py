"""A test of composition rules that anybody can run on a rule of their own, as `check_denoiser` is for denoisers."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.composite.reconstruct import reconstruct
from composite_flow.composite.rule import CompositionRule, Message, agent_context, sweep
from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError
from composite_flow.validation import check_histories

_SAMPLES, _SWEEPS = 4, 2
# Compilation and batching reorder sums: 1e-3 of the largest value is far above that, far below a mix-up.
_CLOSE = 1e-3


def check_rule(rule: Any, denoiser: Denoiser, histories: Float[Array, "agents history"], key: PRNGKeyArray) -> None:
    """Check that a composition rule keeps the contract of `CompositionRule`.

    The message is a pytree of arrays that keeps its shapes and types through every hop and sweep; the state read from
    it has the noise's shape and type and finite values, in teams of one too; the same noise gives the same result; a
    hop stirred with zeros is one that is not stirred; `vmap` over samples agrees with one sample at a time; a hop calls
    `denoise` no more often than `calls_per_hop` says; and `reconstruct` ends where agents end who make their hops one
    by one, and counts their messages.

    Args:
        rule: the rule under test.
        denoiser: one that it works with.
        histories: a joint history that the denoiser accepts.
        key: draws four noisy states from N(0, I), and what stirs their hops.

    Raises:
        InputError: with a sentence that names what is broken.
    """
    if not isinstance(rule, CompositionRule):
        raise InputError("A rule must be a `CompositionRule`, with `start`, `hop` and `state`.")
    histories = check_histories(denoiser, histories, axes=2)
    contexts = jax.vmap(denoiser.condition)(histories)
    noise = jax.random.normal(key, (_SAMPLES, len(histories) + 1, denoiser.state_size), histories.dtype)
    context = agent_context(contexts, jnp.asarray(0))
    _check_message(rule, denoiser, context, noise[0, 0])
    _check_calls(rule, denoiser, context, noise[0, 0])
    _check_values(rule, denoiser, contexts, noise[:, 0], noise[:, 1:])
    _check_hop_by_hop(rule, denoiser, histories, contexts, key)


def _check_message(rule: CompositionRule, denoiser: Denoiser, context: Context, noise: Float[Array, " state"]) -> None:
    """Raise `InputError` unless every method returns what the next one takes; nothing is computed."""
    message = eqx.filter_eval_shape(rule.start, noise)
    leaves = jax.tree.leaves(message)
    if not leaves or not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        raise InputError("`start` must return a pytree of JAX arrays, one at least, so that `vmap` can carry it.")
    results = {
        "`hop` without noise": eqx.filter_eval_shape(rule.hop, denoiser, context, message, None),
        "`hop` with noise": eqx.filter_eval_shape(rule.hop, denoiser, context, message, noise),
        "`end_sweep`": eqx.filter_eval_shape(rule.end_sweep, message),
    }
    for name, result in results.items():
        if _in_words(result) != _in_words(message):
            raise InputError(
                f"{name} must return a message like the one of `start`, {_in_words(message)}, not {_in_words(result)}."
            )
    state = _in_words(eqx.filter_eval_shape(rule.state, message))
    if state != _in_words(noise):
        raise InputError(f"`state` must return one state, {_in_words(noise)}, not {state}.")


def _in_words(message: Message) -> str:
    """The structure of a pytree, with the shapes and types of its arrays."""
    described = jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape}" if hasattr(leaf, "dtype") else leaf, message)
    return str(described).replace("'", "")


class _Counting:
    """A denoiser that counts the calls of `denoise`."""

    def __init__(self, denoiser: Denoiser):
        self.calls, self.inner = 0, denoiser
        self.state_size, self.condition = denoiser.state_size, denoiser.condition

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def denoise(self, context: Context, y: Float[Array, " state"]) -> Float[Array, " state"]:
        self.calls += 1
        return self.inner.denoise(context, y)


def _check_calls(rule: CompositionRule, denoiser: Denoiser, context: Context, noise: Float[Array, " state"]) -> None:
    """Raise `InputError` where a hop calls `denoise` more often than it says; it may call other methods instead."""
    counting = _Counting(denoiser)
    with jax.disable_jit():  # unrolls loops, so that each call in them is counted
        eqx.filter_eval_shape(lambda noise: rule.hop(counting, context, rule.start(noise), None), noise)
    if counting.calls > rule.calls_per_hop:
        raise InputError(
            f"`hop` called `denoise` {counting.calls} times and `calls_per_hop` is {rule.calls_per_hop}, by which "
            "estimates count calls; make it as many."
        )


def _check_values(
    rule: CompositionRule,
    denoiser: Denoiser,
    contexts: Context,
    noise: Float[Array, "samples state"],
    stirred: Float[Array, "samples agents state"],
) -> None:
    """Raise `InputError` unless a sweep's values are finite, the same each time, and each sample's own."""
    swept = eqx.filter_jit(_swept)
    single = np.stack([swept(rule, denoiser, contexts, *one) for one in zip(noise, stirred, strict=True)])
    if not np.isfinite(single).all():
        raise InputError("A sweep from noise of N(0, I) ended in values that are not finite.")
    # A second function is traced anew, which draws random numbers of the host anew.
    again = eqx.filter_jit(partial(_swept, rule, denoiser))
    if not np.array_equal(single[0], again(contexts, noise[0], stirred[0])):
        raise InputError("A sweep gave two different results for the same noise; a rule must be deterministic.")
    batched = eqx.filter_jit(jax.vmap(partial(_swept, rule, denoiser, contexts)))(noise, stirred)
    if _apart(batched, single):
        raise InputError("`jax.vmap` over samples differs from one at a time; a rule must treat one sample only.")
    still, zeros = (swept(rule, denoiser, contexts, noise[0], added) for added in (None, jnp.zeros_like(stirred[0])))
    if _apart(still, zeros):
        raise InputError("A hop stirred with zeros differs from one that is not stirred; noise must be added.")
    alone = jax.tree.map(lambda leaf: leaf[:1], contexts)
    if not np.isfinite(swept(rule, denoiser, alone, noise[0], None)).all():
        raise InputError("A sweep of a single agent ended in values that are not finite; teams may be of any size.")


def _swept(rule: CompositionRule, denoiser: Denoiser, contexts: Context, noise, stirred) -> Float[Array, " state"]:
    """The state after one sweep, in the order of the agents."""
    order = jnp.arange(len(jax.tree.leaves(contexts)[0]), dtype=jnp.int32)
    return rule.state(sweep(rule, denoiser, contexts, order, rule.start(noise), stirred)[0])


def _check_hop_by_hop(
    rule: CompositionRule, denoiser: Denoiser, histories: Float[Array, "agents history"], contexts: Context, key
) -> None:
    """Raise `InputError` unless `reconstruct` agrees with agents who pass plain numbers on, one after the other."""
    options = {"num_samples": _SAMPLES, "num_sweeps": _SWEEPS, "order": "fixed"}
    estimate = reconstruct(denoiser, histories, key=key, rule=rule, **options)
    hop = eqx.filter_jit(lambda context, message: rule.hop(denoiser, context, message, None))
    noise = jax.random.normal(jax.random.split(key)[0], (_SAMPLES, denoiser.state_size))  # as `reconstruct` draws it
    message, messages = rule.start(noise[0]), 0
    for _ in range(_SWEEPS):
        for agent in range(len(histories)):
            received = jax.tree.map(jnp.asarray, jax.device_get(message))
            message, messages = hop(agent_context(contexts, jnp.asarray(agent)), received), messages + 1
        message = rule.end_sweep(message)
    if _apart(rule.state(message), estimate.samples[0]) or int(estimate.messages) != messages:
        raise InputError(
            "Hops made one by one end elsewhere than `reconstruct`; all that a rule keeps must be in its message."
        )


def _apart(first: Array | np.ndarray, second: Array | np.ndarray) -> bool:
    first, second = np.asarray(first), np.asarray(second)
    return bool(np.max(np.abs(first - second)) > _CLOSE * max(1.0, np.max(np.abs(second))))
