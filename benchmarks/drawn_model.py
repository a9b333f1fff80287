"""Models of any size with drawn weights, which cost what trained ones do, and episodes at random."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork

OBSERVATION = 8


@dataclass(frozen=True)
class Sizes:
    """Of the model; a state of numbers, for which answers hold most."""

    state: int = 40
    width: int = 128
    depth: int = 3


def model_of(agents: int, sizes: Sizes) -> cf.Model:
    """A model with drawn weights; histories of one step."""
    layout, key = cf.HistoryLayout(1, OBSERVATION, 1, agents), jax.random.key(0)
    prior = Prior(jnp.full(sizes.state, 0.5), jnp.full(sizes.state, 10.0), FeatureTypes((), (), sizes.state))
    usual = jnp.concatenate([jnp.full((agents, OBSERVATION + 1), 0.5), jnp.eye(agents)], axis=1)
    limits = jnp.zeros(layout.size), jnp.ones(layout.size)
    answers = AnswerNetwork(usual, limits, prior, sizes.width, sizes.depth, key=key)
    said = 0.3 * jax.random.normal(key, answers.evidence_weights.shape)
    answers = jax.tree.map(lambda leaf: said if leaf is answers.evidence_weights else leaf, answers)
    names = tuple(f"feature {place}" for place in range(sizes.state))
    denoiser = cf.Network(layout, sizes.state, sizes.width, sizes.depth, key=key)
    return cf.Model(denoiser, layout, cf.Scaling.identity(sizes.state), 0.5, (), names, {}, LearnedFusion(answers))


def episodes_of(agents: int, steps: int, sizes: Sizes) -> cf.Episodes:
    """Observations at random, in episodes of ten steps."""
    random = np.random.default_rng(0)
    return cf.Episodes.from_arrays(
        observations=random.random((steps, agents, OBSERVATION), np.float32),
        actions=np.zeros((steps, agents), np.int32),
        states=random.random((steps, sizes.state), np.float32),
        ends=np.arange(steps) % 10 == 9,
    )
