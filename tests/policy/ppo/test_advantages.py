"""Generalised advantage estimation against hand-computed numbers."""

import jax.numpy as jnp
import numpy as np

from composite_flow.policy.ppo.advantages import advantages_and_returns, standardised


def test_an_end_in_the_middle_cuts_and_the_last_step_looks_on():
    # γ = 1/2, λ = 1/2, all numbers exact in binary. The episode ends after the second of four steps.
    rewards, values = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([4.0, 2.0, 8.0, 6.0])
    ends = jnp.array([False, True, False, False])
    advantages, returns = advantages_and_returns(rewards, values, ends, jnp.float32(10.0), 0.5, 0.5)
    last = 4.0 + 0.5 * 10.0 - 6.0  # δ = 3: the stretch stops, the episode does not
    third = 3.0 + 0.5 * 6.0 - 8.0 + 0.25 * last  # δ = −2
    second = 2.0 - 2.0  # nothing follows an end, neither the third step's value nor its advantage
    first = 1.0 + 0.5 * 2.0 - 4.0 + 0.25 * second  # δ = −2
    np.testing.assert_array_equal(advantages, [first, second, third, last])
    np.testing.assert_array_equal(advantages, [-2.0, 0.0, -1.25, 3.0])
    np.testing.assert_array_equal(returns, [2.0, 2.0, 6.75, 9.0])


def test_an_end_at_the_last_step_hides_the_next_value():
    results = [
        advantages_and_returns(jnp.ones(2), jnp.zeros(2), jnp.array([False, True]), jnp.float32(value), 0.9, 0.8)
        for value in (0.0, 1e6)
    ]
    np.testing.assert_array_equal(results[0][0], results[1][0])


def test_trace_one_gives_discounted_returns_and_trace_zero_one_step_errors():
    rng = np.random.default_rng(0)
    rewards, values = (jnp.asarray(rng.normal(size=6), jnp.float32) for _ in range(2))
    ends, discount = jnp.arange(6) == 5, 0.9
    _, returns = advantages_and_returns(rewards, values, ends, jnp.float32(0.0), discount, 1.0)
    expected = [sum(discount**k * float(r) for k, r in enumerate(rewards[t:])) for t in range(6)]
    # float32 sums of six numbers of size one
    np.testing.assert_allclose(returns, expected, atol=1e-5)
    advantages, _ = advantages_and_returns(rewards, values, ends, jnp.float32(0.0), discount, 0.0)
    np.testing.assert_allclose(advantages, rewards + discount * jnp.append(values[1:], 0.0) - values, atol=1e-6)


def test_standardised_counts_each_step_by_its_weight():
    advantages, weights = jnp.array([[1.0, 3.0], [5.0, 100.0]]), jnp.array([[2.0, 1.0], [1.0, 0.0]])
    repeated = np.array([1.0, 1.0, 3.0, 5.0])
    expected = (np.asarray(advantages) - repeated.mean()) / (repeated.std() + 1e-5)
    np.testing.assert_allclose(standardised(advantages, weights), expected, rtol=1e-5)
    assert bool(jnp.all(jnp.isfinite(standardised(advantages, jnp.zeros_like(weights)))))
