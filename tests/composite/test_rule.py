"""Composition rules: the two that ship, rules of one's own, and what `check_rule` finds in broken ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from teams import Linear

from composite_flow import certify, certify_batch, check_rule, reconstruct, reconstruct_batch
from composite_flow.baselines.flows import parallel_mean
from composite_flow.composite.plan import make_plan
from composite_flow.composite.reconstruct import states_by_sweep
from composite_flow.composite.rule import CompositeDiffusion, CompositionRule, ParallelMean, message_bytes, sweep
from composite_flow.composite.sampling import Sampling
from composite_flow.errors import InputError

TEAM = jnp.eye(3)  # histories of three agents, each its identity


@pytest.fixture
def linear(key):
    key_points, key_jacobians = jax.random.split(key)
    return Linear(jax.random.normal(key_points, (3, 2)), 0.3 * jax.random.normal(key_jacobians, (3, 2, 2)))


class Gated(CompositionRule):
    """y ← y + g (f(τ, y) − y) from a fixed state: a chain that keeps part of what it received."""

    gate: Float[Array, " state"]
    mean: Float[Array, " state"]

    def start(self, noise):
        return self.mean

    def hop(self, denoiser, context, message, noise):
        y = message if noise is None else message + noise
        return y + self.gate * (denoiser.denoise(context, y) - y)

    def state(self, message):
        return message


class SumOfPoints(CompositionRule):
    """What each agent says from its history alone is added up; no call of `denoise`, no noise."""

    @property
    def calls_per_hop(self):
        return 0

    def start(self, noise):
        zero = jnp.zeros_like(noise)
        return {"running": zero, "whole": zero}

    def hop(self, denoiser, context, message, noise):
        return {**message, "running": message["running"] + context[0]}

    def end_sweep(self, message):
        return {"running": jnp.zeros_like(message["running"]), "whole": message["running"]}

    def state(self, message):
        return message["whole"]


GATED = Gated(jnp.array([0.3, 0.8]), jnp.array([0.5, 0.1]))
RULES = [CompositeDiffusion(), ParallelMean(), GATED, SumOfPoints()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rules_keep_the_contract(rule, linear, key):
    check_rule(rule, linear, TEAM, key)


def test_the_parallel_mean_is_the_mean_of_all_answers_whatever_the_order(linear, key):
    options = {"key": key, "num_samples": 5, "num_sweeps": 4}
    estimate = reconstruct(linear, TEAM, rule=ParallelMean(), **options)
    assert np.allclose(estimate.samples, parallel_mean(linear, TEAM, **options), atol=1e-6)
    turned = reconstruct(linear, TEAM, rule=ParallelMean(), order=[2, 0, 1], **options)
    assert np.allclose(estimate.samples, turned.samples, atol=1e-6)
    # all agents of a round receive the same state
    assert np.array_equal(estimate.path, jnp.broadcast_to(estimate.path[:1], estimate.path.shape))
    assert estimate.rule == "ParallelMean" and int(estimate.messages) == 12


def test_the_parallel_mean_of_some_is_over_these(linear, key):
    estimate = reconstruct(linear, TEAM, key=key, rule=ParallelMean(), participants=[0, 2], num_samples=3, num_sweeps=1)
    points, jacobians = linear.points[:, None], linear.jacobians
    first, second = (points[i] + (estimate.path[0] - points[i]) @ jacobians[i].T for i in (0, 2))
    assert np.allclose(estimate.samples, (first + second) / 2, atol=1e-6)


def test_a_rule_of_ones_own_may_hold_arrays_and_start_where_it_likes(linear, key):
    estimate = reconstruct(linear, TEAM, key=key, rule=GATED, order="fixed", num_samples=2, num_sweeps=2)
    y = GATED.mean
    for agent in (0, 1, 2, 0, 1, 2):
        answer = linear.points[agent] + linear.jacobians[agent] @ (y - linear.points[agent])
        y = y + GATED.gate * (answer - y)
    assert np.allclose(estimate.samples, y, atol=1e-6) and float(estimate.shares[0]) == 1.0
    # another gate is another argument of the same program
    other = reconstruct(linear, TEAM, key=key, rule=eqx.tree_at(lambda rule: rule.gate, GATED, jnp.zeros(2)))
    assert np.allclose(other.samples, GATED.mean)


def test_sums_are_of_one_sweep_and_calls_are_counted_as_the_rule_says(linear, key):
    estimates = reconstruct_batch(linear, TEAM[None], key=key, rule=SumOfPoints(), num_samples=2, num_sweeps=3)
    assert np.allclose(estimates.samples[0], jnp.sum(linear.points, axis=0), atol=1e-6)
    assert int(estimates.messages[0]) == 9 and int(estimates.denoiser_calls[0]) == 0


def test_stirred_hops_and_early_stopping_work_for_any_rule(linear, key):
    options = {"key": key, "rule": ParallelMean(), "num_samples": 4, "order": "fixed"}
    stopped = reconstruct(linear, TEAM, num_sweeps=200, tolerance=1e-5, **options)
    full = reconstruct(linear, TEAM, num_sweeps=200, **options)
    assert int(stopped.sweeps) < 200 and np.allclose(stopped.samples, full.samples, atol=1e-4)
    stirred = reconstruct(linear, TEAM, num_sweeps=2, stir=0.5, **options)
    still = reconstruct(linear, TEAM, num_sweeps=2, **options)
    assert not np.allclose(stirred.samples, still.samples, atol=1e-2)


def test_a_sweep_gives_what_each_agent_received(linear):
    contexts = jax.vmap(linear.condition)(TEAM)
    last, received = sweep(CompositeDiffusion(), linear, contexts, jnp.array([1, 2]), jnp.ones(2))
    assert np.array_equal(received[0], jnp.ones(2))
    assert np.allclose(received[1], linear.denoise(agent(contexts, 1), received[0]), atol=1e-6)
    assert np.allclose(last, linear.denoise(agent(contexts, 2), received[1]), atol=1e-6)


def agent(contexts, number):
    return jax.tree.map(lambda leaf: leaf[number], contexts)


@pytest.mark.parametrize("rule", [CompositeDiffusion(), ParallelMean()])
def test_states_by_sweep_end_where_the_samples_do(rule, linear, key):
    sampling = Sampling(num_samples=3, num_sweeps=4, stir=0.2)
    by_sweep = states_by_sweep(linear, TEAM, key, make_plan(3, sampling), rule)
    estimate = reconstruct(linear, TEAM, key=key, rule=rule, sampling=sampling)
    assert by_sweep.shape == (3, 4, 2)
    assert np.allclose(by_sweep[:, -1], estimate.samples, atol=1e-6)
    assert np.allclose(by_sweep[:, -2], estimate.path[0], atol=1e-6)


def test_a_message_is_as_large_as_its_numbers():
    assert [message_bytes(rule, 2) for rule in RULES] == [8, 20, 8, 16]


def test_checks_of_definition_6_refuse_other_rules(linear, key):
    estimate = reconstruct(linear, TEAM, key=key, rule=GATED, num_samples=2)
    with pytest.raises(InputError, match="hold for Definition 6 alone, and this estimate is by the rule Gated"):
        certify(linear, TEAM, estimate, radius=0.1)
    estimates = reconstruct_batch(linear, TEAM[None], key=key, rule=ParallelMean(), num_samples=2)
    with pytest.raises(InputError, match="by the rule ParallelMean"):
        certify_batch(linear, TEAM[None], estimates, radius=0.1)
    certify(linear, TEAM, reconstruct(linear, TEAM, key=key, rule=CompositeDiffusion(), num_samples=2), radius=0.1)


# --- what `check_rule` finds


class Broken(CompositionRule):
    """Definition 6, but for one fault."""

    fault: str = eqx.field(static=True)

    def start(self, noise):
        return {"no array": 1.0, "nothing": ()}.get(self.fault, (noise, noise[0] * 0))

    def hop(self, denoiser, context, message, noise):
        y, number = message
        match self.fault:
            case "grows":
                return jnp.concatenate([y, y]), number
            case "type":
                return y, number.astype(jnp.int32)
            case "noise changes it":
                return (y, number) if noise is None else (y,)
            case "noise ignored but for presence":
                return denoiser.denoise(context, y) + (0.0 if noise is None else 1.0), number
            case "random":
                return denoiser.denoise(context, y) + np.random.default_rng().normal(), number
            case "not finite":
                return denoiser.denoise(context, y) / 0.0, number
            case "calls twice":
                y = denoiser.denoise(context, y)
        return denoiser.denoise(context, y if noise is None else y + noise), number + 1

    def end_sweep(self, message):
        y, number = message
        if self.fault == "alone":  # divides by the number of others
            return y * (number - 1) / (number - 1), number * 0
        return (y,) if self.fault == "end" else (y, number * 0)

    def state(self, message):
        y, number = message
        return {"several states": y[None], "type of the state": y > 0}.get(self.fault, y)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no array", "`start` must return a pytree of JAX arrays"),
        ("nothing", "one at least"),
        ("grows", "`hop` without noise must return a message like the one of `start`, .*not"),
        ("type", r"`hop` without noise .* not \(float32\(2,\), int32\(\)\)"),
        ("noise changes it", "`hop` with noise must return"),
        ("end", "`end_sweep` must return a message like"),
        ("several states", r"`state` must return one state, float32\(2,\), not float32\(1, 2\)"),
        ("type of the state", r"not bool\(2,\)"),
        ("calls twice", "called `denoise` 2 times and `calls_per_hop` is 1"),
        ("not finite", "not finite"),
        ("random", "deterministic"),
        ("noise ignored but for presence", "stirred with zeros"),
        ("alone", "single agent"),
    ],
)
def test_check_rule_names_what_is_broken(fault, sentence, linear, key):
    with pytest.raises(InputError, match=sentence):
        check_rule(Broken(fault), linear, TEAM, key)


def test_check_rule_accepts_the_same_without_a_fault(linear, key):
    check_rule(Broken("none"), linear, TEAM, key)


@jax.custom_batching.custom_vmap
def moved_if_batched(y):
    """y for one sample, y + 1 for many."""
    return y


@moved_if_batched.def_vmap
def _(axis_size, in_batched, y):
    return y + 1.0, True


class Batched(CompositeDiffusion):
    """Treats many samples otherwise than one."""

    def hop(self, denoiser, context, message, noise):
        return moved_if_batched(super().hop(denoiser, context, message, noise))


class Traced(CompositeDiffusion):
    """Ends a sweep otherwise inside of a compiled program than outside of it."""

    def end_sweep(self, message):
        return message if isinstance(message, jax.core.Tracer) else message + 1.0


@pytest.mark.parametrize(("rule", "sentence"), [(Batched(), "one sample only"), (Traced(), "made one by one")])
def test_check_rule_finds_what_depends_on_who_calls(rule, sentence, linear, key):
    with pytest.raises(InputError, match=sentence):
        check_rule(rule, linear, TEAM, key)


def test_check_rule_refuses_calls_that_are_not_counted(linear, key):
    """An agent that takes three steps of its own flow must say so, or estimates count a third of the calls."""

    class Steps(CompositeDiffusion):
        counted: bool = eqx.field(static=True)

        def hop(self, denoiser, context, message, noise):
            start = message if noise is None else message + noise
            return jax.lax.fori_loop(0, 3, lambda _, y: denoiser.denoise(context, y), start)

        @property
        def calls_per_hop(self):
            return 3 if self.counted else 1

    check_rule(Steps(counted=True), linear, TEAM, key)
    assert int(reconstruct(linear, TEAM, key=key, rule=Steps(counted=True), num_samples=2).denoiser_calls) == 3 * 36
    with pytest.raises(InputError, match="called `denoise` 3 times and `calls_per_hop` is 1"):
        check_rule(Steps(counted=False), linear, TEAM, key)


def test_check_rule_wants_a_rule(linear, key):
    with pytest.raises(InputError, match="must be a `CompositionRule`"):
        check_rule(jnp.tanh, linear, TEAM, key)
