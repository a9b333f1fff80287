"""Small teams with drawn weights, and their episodes, for pages: nothing is trained."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.network import Network

NAMES = ("robot x", "robot y", "door open", "red", "green")
TYPES = FeatureTypes((2,), ((3, 5),), 5)
SCALING = Scaling(jnp.array([-1.0, 10.0, 0.0, 0.0, 0.0]), jnp.array([1.0, 30.0, 1.0, 1.0, 1.0]))


def drawn_answers(layout, prior, key, width=8):
    """Answers whose last layers are drawn as well, so that they say something."""
    keys = iter(jax.random.split(key, 6))
    usual = jnp.concatenate(
        [jnp.full((layout.num_agents, layout.parts["agent"].start), 0.5), jnp.eye(layout.num_agents)], axis=1
    )
    built = AnswerNetwork(
        usual, (jnp.zeros(layout.size), jnp.ones(layout.size)), prior, width, 2, 0, "silu", key=next(keys)
    )
    for name in ("evidence_weights", "weight_weights", "precision_weights"):
        drawn = 2.0 * jax.random.normal(next(keys), getattr(built, name).shape)
        built = eqx.tree_at(lambda net, name=name: getattr(net, name), built, drawn)
    return built


def drawn_network(layout, state_size, key, activation="relu"):
    """A denoiser whose flows come to rest, as its weights are small."""
    built = Network(layout, state_size, 12, 2, activation=activation, key=key)
    return jax.tree.map(lambda leaf: 0.8 * leaf, built)


def robots(key, *, with_network=True, names=NAMES, num_episodes=2, num_steps=4):
    """Three agents, five features of all types, no problem behind them: a model and its episodes."""
    rng = np.random.default_rng(0)
    steps = num_episodes * num_steps
    states = np.zeros((steps, 5), np.float32)
    states[:, 0], states[:, 1] = rng.uniform(-1, 1, steps), rng.uniform(10, 30, steps)
    states[:, 2] = rng.integers(0, 2, steps)
    states[np.arange(steps), 3 + rng.integers(0, 2, steps)] = 1
    episodes = cf.Episodes.from_arrays(
        observations=rng.uniform(0, 1, (steps, 3, 2)).astype(np.float32),
        actions=rng.integers(0, 2, (steps, 3)),
        states=states,
        ends=np.arange(steps) % num_steps == num_steps - 1,
        state_names=names,
        scaling=SCALING,
    )
    layout = cf.HistoryDataset(episodes, 1).layout
    prior = Prior(jnp.array([0.5, 0.4, 0.3, 0.5, 0.5]), jnp.array([4.0, 9.0, 1.0, 1.0, 1.0]), TYPES)
    levels = jnp.stack([jnp.linspace(1.0, 2.0, len(LEVELS)), jnp.linspace(1.5, 3.0, len(LEVELS))])
    key_answers, key_network = jax.random.split(key)
    fusion = LearnedFusion(drawn_answers(layout, prior, key_answers), TeamQuantiles((1, 3), levels))
    denoiser = drawn_network(layout, 5, key_network) if with_network else NoDenoiser(5)
    return cf.Model(denoiser, layout, SCALING, None, ({"step": 1},), tuple(names), {}, fusion), episodes


def sensors(key, *, num_episodes=3):
    """A sensor network of six agents, its fusion, and a denoiser."""
    problem = cf.SensorNetwork.grid(2, 3, num_targets=1)
    key_data, key_answers, key_network = jax.random.split(key, 3)
    episodes = cf.collect(problem, num_episodes=num_episodes, num_steps=5, key=key_data)
    layout = cf.HistoryDataset(episodes, 1).layout
    size = problem.state_size
    prior = Prior(jnp.full(size, 0.2), jnp.full(size, 6.0), FeatureTypes(tuple(range(size)), (), size))
    fusion = LearnedFusion(drawn_answers(layout, prior, key_answers))
    names, about = problem.state_names, {"problem": problem.description}
    network = drawn_network(layout, size, key_network)
    return cf.Model(network, layout, Scaling.identity(size), None, ({"step": 1},), names, about, fusion), episodes
