"""`check_problem` accepts a world that keeps the contract, and names what is broken in any other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow import Problem, check_problem
from composite_flow.errors import InputError


class Walk(Problem):
    """Two agents on a line: each moves it by −1, 0 or 1 and sees the sum of its places with noise. May have a fault."""

    fault: str = eqx.field(static=True, default="none")
    num_agents: int = eqx.field(static=True, default=2)
    num_actions: int = eqx.field(static=True, default=3)
    observation_size: int = eqx.field(static=True, default=1)
    state_size: int = eqx.field(static=True, default=2)

    def reset(self, key):
        return {"places": jax.random.normal(key, (2,)), "steps": jnp.asarray(0, jnp.int32)}

    def step(self, key, world, actions):
        places = world["places"] + actions.astype(jnp.float32) - 1.0
        places = {"world": places[:1], "random": places + np.random.default_rng().normal()}.get(self.fault, places)
        reward = {"reward": places, "endless reward": jnp.sum(places) / 0.0}.get(self.fault, jnp.sum(places))
        over = world["steps"] >= (3 if self.fault != "end" else jnp.ones(2, jnp.int32))
        return {"places": places, "steps": world["steps"] + 1}, reward, over

    def observe(self, key, world):
        seen = (jnp.sum(world["places"]) + jax.random.normal(key, (2,)))[:, None]
        return {
            "view": seen[0],
            "view of integers": seen.astype(jnp.int32),
            "endless view": jnp.log(-jnp.abs(seen)),
        }.get(self.fault, seen)

    def state(self, world):
        places = world["places"]
        return {"state": places[:1], "endless state": places / 0.0}.get(self.fault, places)

    def available(self, world):
        allowed = jnp.ones((2, 3), bool)
        return {
            "available": allowed[0],
            "available as numbers": allowed.astype(jnp.float32),
            "no action": allowed.at[1].set(False),
        }.get(self.fault, allowed)

    @property
    def state_names(self):
        return {"names": ("left",), "same names": ("left", "left")}.get(self.fault, ("left", "right"))

    @property
    def description(self):
        return {"kind": "walk", "more": jnp.ones(2) if self.fault == "description" else 0}


def test_a_world_that_keeps_the_contract_passes(key):
    check_problem(Walk(), key)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "world",
            r"`step` must return a world like .* `reset`, .*places: float32\(2,\).*, not .*float32\(1,\)",
        ),
        ("reward", r"The reward of `step` must be an array of shape \(\) and type float32, not float32\(2,\)"),
        ("endless reward", "The reward of `step` is not finite"),
        ("end", r"The end of `step` must be an array of shape \(\) and type bool"),
        ("view", r"`observe` must be an array of shape \(2, 1\)"),
        ("view of integers", "`observe` .* type float32, not int32"),
        ("endless view", "`observe` is not finite"),
        ("state", r"`state` must be an array of shape \(2,\)"),
        ("endless state", "`state` is not finite"),
        ("available", r"`available` must be an array of shape \(2, 3\)"),
        ("available as numbers", "`available` .* type bool, not float32"),
        ("no action", "without any action"),
        ("names", "it has 1 names"),
        ("same names", "2 names, 1 different ones"),
        ("description", "JSON"),
        ("random", "draw all that is random with the key"),
    ],
)
def test_what_is_broken_is_named(fault, sentence, key):
    with pytest.raises(InputError, match=sentence):
        check_problem(Walk(fault), key)


@pytest.mark.parametrize("name", ["num_agents", "num_actions", "observation_size", "state_size"])
@pytest.mark.parametrize("size", [0, 2.0])
def test_sizes_are_whole_numbers(name, size, key):
    with pytest.raises(InputError, match=f"`{name}` must be a whole number of at least 1, not {size}"):
        check_problem(Walk(**{name: size}), key)


def test_anything_else_is_no_problem(key):
    with pytest.raises(InputError, match="must be a `Problem`"):
        check_problem(jnp.tanh, key)
