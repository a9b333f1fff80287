"""A world on the host gives the same episodes as the same world in JAX, and one that breaks down is played anew."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld, CyclingPolicy
from test_collect import assert_same

from composite_flow.data import collect, collect_to
from composite_flow.errors import InputError, MismatchError
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.team import Networks, Team
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import HostProblem, problem_from_text, world_from_text
from composite_flow.problems.host import WorldLost, closing


@eqx.filter_jit
def call(problem, name: str, *arguments):
    """A method of a problem, compiled once for all worlds."""
    return getattr(problem, name)(*arguments)


class OnHost(HostProblem):
    """One of our own worlds, which runs step by step on the host and tells whether it is used as it must be."""

    def __init__(self, problem, losses: int = 0):
        self.problem, self.losses = problem, losses
        for name in ("num_agents", "num_actions", "observation_size", "state_size"):
            setattr(self, name, getattr(problem, name))
        self.num_steps = problem.num_steps or 6
        self.resets, self.is_closed, self.seen = 0, False, True

    def reset(self, key):
        self.world, self.seen, self.resets = call(self.problem, "reset", key), False, self.resets + 1

    def step(self, key, actions):
        assert self.seen, "each step is observed once"
        self.world, reward, over = call(self.problem, "step", key, self.world, jnp.asarray(actions))
        self.seen = False
        if self.losses:
            self.losses -= 1
            raise WorldLost("the cable was pulled")
        return float(reward), bool(over)

    def observe(self, key):
        assert not self.seen, "each step is observed once"
        self.seen = True
        return np.asarray(call(self.problem, "observe", key, self.world))

    def state(self):
        return np.asarray(call(self.problem, "state", self.world))

    def available(self):
        return np.asarray(call(self.problem, "available", self.world))

    def close(self):
        self.is_closed = True

    @property
    def state_names(self):
        return self.problem.state_names

    @property
    def description(self):
        return self.problem.description


def test_the_same_episodes_as_in_one_program(tmp_path):
    """Of different lengths, some cut, with a policy that remembers; to shards, and until there are enough samples."""
    world, options = CounterWorld(), {"key": jax.random.key(1), "policy": CyclingPolicy()}
    assert_same(collect(OnHost(world), 12, num_steps=4, **options), collect(world, 12, num_steps=4, **options))
    told = []
    host = collect_to(
        tmp_path / "a", OnHost(world), num_samples=40, shard_bytes=1000, progress=lambda *n: told.append(n), **options
    )
    assert_same(host, collect(world, num_samples=40, num_steps=6, **options))
    assert len(list((tmp_path / "a").iterdir())) > 1 and len(told) > host.num_episodes
    assert host.policy == {"kind": "CyclingPolicy"}


def test_random_and_trained_policies():
    world = CounterWorld()
    network = {"inputs": 6, "outputs": 4, "width": 8, "depth": 1, "memory": "gru", "gain": 1.0}
    actor = eqx.filter_jit(lambda key: SequenceNetwork(**network, key=key))(jax.random.key(0))
    trained = TrainedPolicy(Team(Networks(actor)), num_agents=3, num_actions=4, observation_size=3)
    trained.check(OnHost(world))
    for policy in (None, trained):
        options = {"key": jax.random.key(3), "policy": policy, "num_steps": 6}
        assert_same(collect(OnHost(world), 3, **options), collect(world, 3, **options))
    with pytest.raises(MismatchError, match="num_agents"):
        trained.check(OnHost(CounterWorld(num_agents=2)))


def test_a_world_that_breaks_down_is_played_anew():
    options = {"key": jax.random.key(1), "policy": CyclingPolicy()}
    broken = OnHost(CounterWorld(), losses=2)
    assert_same(collect(broken, 3, **options), collect(CounterWorld(), 3, num_steps=6, **options))
    assert broken.resets == 5
    with pytest.raises(InputError, match="broke down 3 times in one episode, at last because the cable was pulled"):
        collect(OnHost(CounterWorld(), losses=3), 3, **options)


def test_what_is_not_finite_is_refused():
    world = OnHost(CounterWorld())
    world.state = lambda: np.array([np.nan, 0.0], np.float32)
    with pytest.raises(InputError, match="The world's states hold values that are NaN"):
        collect(world, 1, key=jax.random.key(0))


def test_worlds_are_closed():
    world = OnHost(CounterWorld())
    with pytest.raises(KeyboardInterrupt), closing(world):
        raise KeyboardInterrupt
    assert world.is_closed
    with closing(CounterWorld()):
        pass


def test_names_of_problems_are_names_of_worlds():
    assert world_from_text("tabular:xor") == problem_from_text("tabular:xor")
