"""A team whose agents all see one number with noise, and a coin that nobody sees; their answers are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.features import FeatureTypes

AGENTS, NOISE = 3, 0.5


class Seeing(Answers):
    """Each agent sees a standard normal number with noise, and claims `boast` times the precision that it has."""

    prior: Prior
    boast: float = 1.0
    num_agents: int = AGENTS

    def condition(self, history):
        return history[0]

    def answer(self, context):
        precision = 1.0 / NOISE**2
        told = jnp.array([context * precision, 0.0])
        return Answer(told, jnp.array([precision, 0.0]), jnp.array([self.boast * precision, 0.0]), jnp.zeros(0))


def seeing(boast=1.0):
    return Seeing(Prior(jnp.array([0.0, 0.5]), jnp.array([1.0, 4.0]), FeatureTypes((1,), (), 2)), boast)


def played(num_episodes, key, length=4):
    """Episodes of a number and a coin, which nobody sees."""
    shape = num_episodes * length
    key_state, key_coin, key_noise = jax.random.split(key, 3)
    number = jax.random.normal(key_state, (shape, 1))
    states = jnp.concatenate([number, jax.random.bernoulli(key_coin, 0.5, (shape, 1)).astype(jnp.float32)], axis=1)
    seen = number[:, None] + NOISE * jax.random.normal(key_noise, (shape, AGENTS, 1))
    episodes = Episodes.from_arrays(
        observations=np.asarray(seen),
        actions=np.zeros((shape, AGENTS), np.int32),
        states=np.asarray(states),
        ends=np.arange(shape) % length == length - 1,
    )
    return HistoryDataset(dataclasses.replace(episodes, scaling=Scaling.identity(2)))
