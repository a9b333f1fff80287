"""Models of small teams with drawn weights, and joint histories of their episodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.doubts import NUM_CHECKS, Watch
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.over_time import build_filter
from composite_flow.fusion.sparse import SparseAnswers

AGENTS, STATE, LENGTH, OBSERVATION, ACTIONS = 4, 6, 3, 2, 3
LAYOUT = cf.HistoryLayout(LENGTH, OBSERVATION, ACTIONS, AGENTS)
TYPES = FeatureTypes((2,), ((3, 6),), STATE)  # two numbers, one binary feature, one of three
NAMES = ("speed", "heat", "open", "left", "middle", "right")
PRIOR = Prior(jnp.array([0.5, 0.4, 0.3, 0.2, 0.3, 0.5]), jnp.array([4.0, 9.0, 1.0, 1.0, 1.0, 1.0]), TYPES)
SCALING = Scaling(jnp.array([-1.0, 10.0, 0.0, 0.0, 0.0, 0.0]), jnp.array([1.0, 30.0, 1.0, 1.0, 1.0, 1.0]))


def drawn(network, names, key):
    """The network with these weights drawn anew: they start at zero."""
    for number, name in enumerate(names):
        old = getattr(network, name)
        new = 0.5 * jax.random.normal(jax.random.fold_in(key, number), old.shape)
        network = jax.tree.map(lambda leaf, old=old, new=new: new if leaf is old else leaf, network)
    return network


def dense_answers(key, activation="silu"):
    """Answers of every feature, with free numbers."""
    usual = jnp.concatenate([jnp.full((AGENTS, LAYOUT.size - AGENTS), 0.4), jnp.eye(AGENTS)], axis=1)
    limits = jnp.zeros(LAYOUT.size), jnp.ones(LAYOUT.size)
    network = AnswerNetwork(usual, limits, PRIOR, 8, 2, 2, activation, key=key)
    return drawn(network, ("evidence_weights", "weight_weights", "precision_weights", "precision_bias"), key)


def sparse_answers(key):
    """Answers of two features an agent, and one empty slot."""
    slots = np.array([[0, 1, STATE], [1, 2, STATE], [3, 4, 0], [5, 2, STATE]])
    own = LAYOUT.size - AGENTS
    limits = jnp.zeros(own), jnp.ones(own)
    network = SparseAnswers(slots, jnp.full((AGENTS, own), 0.4), limits, PRIOR, 8, 2, "silu", key=key)
    return drawn(network, ("evidence_weights", "everywhere_weights", "weight_weights", "precision_weights"), key)


def team_model(key, answers=None):
    """A model with answers and a denoiser, of drawn weights."""
    quantiles = TeamQuantiles((1, AGENTS), jnp.stack([jnp.full(len(LEVELS), 1.0), jnp.full(len(LEVELS), 2.0)]))
    own = LAYOUT.size - AGENTS
    columns = jnp.zeros(own)
    familiar = Familiar(columns - 9.0, columns + 18.0, columns, jnp.eye(own)[:, :2], jnp.ones(2), jnp.ones(()))
    scale = jnp.full(STATE + NUM_CHECKS, 2.0)
    watch = Watch(familiar, scale, jnp.linspace(1.0, 8.0, len(LEVELS)), 1000)
    fusion = LearnedFusion(dense_answers(key) if answers is None else answers, quantiles, watch=watch)
    denoiser = cf.Network(LAYOUT, STATE, width=8, depth=2, key=key)
    return cf.Model(denoiser, LAYOUT, SCALING, 0.7, (), NAMES, {}, fusion)


def shaken(made, key, by=0.2):
    """The same with all that training changes drawn anew: much of it starts at zero."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(made)
    keys = jax.random.split(key, len(leaves))
    drawn = [not any(word in str(path) for word in ("prior", "history_m")) for path, _ in leaves]
    changed = [x + by * d * jax.random.normal(k, x.shape) for (_, x), k, d in zip(leaves, keys, drawn, strict=True)]
    return structure.unflatten(changed)


def with_filter(key, kind="product", size=LAYOUT.size, prior=PRIOR, activation="relu"):
    """A model with a filter of drawn weights."""
    made = build_filter(kind, (jnp.zeros(size), jnp.ones(size)), prior, 12, 2, activation, key=key)
    model, by = team_model(key), 0.2 if kind == "product" else 0.07  # what is added at every hop must not run away
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, over_time=shaken(made, key, by)))


def with_chain(key):
    """A model with a gated chain of drawn weights."""
    limits = jnp.zeros(LAYOUT.size), jnp.ones(LAYOUT.size)
    model, chain = team_model(key), shaken(ChainNetwork(limits, PRIOR.mean, 12, 2, key=key), key)
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, chain=chain))


def calibrated(model, widest, lost=0.0):
    """The model with how far errors reach, and the width that is usual for each size of team."""
    reach = jnp.linspace(0.5, 3.0, len(LEVELS))[None, :, None] * jnp.linspace(1.0, 2.0, AGENTS)[:, None, None]
    table, flat = jnp.broadcast_to(reach, (AGENTS, len(LEVELS), STATE)), jnp.ones((AGENTS, len(LEVELS)))
    width = jnp.asarray(widest)[:, None] * flat
    sizes = tuple(range(1, AGENTS + 1))
    found = Calibration(sizes, 1000, jnp.ones((AGENTS, STATE)), table, 2 * table, flat, flat, width, lost=lost)
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, calibration=found))


def suspicious(model):
    """The model, to which even small contradictions are unusual."""
    watch = model.fusion.watch
    watch = dataclasses.replace(watch, scale=watch.scale.at[:STATE].set(0.02))
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, watch=watch))


def strange(logged):
    """The same episodes, but that every third observation of agent 2 is unlike those of training."""
    observations = np.array(logged.observations)
    observations[::3, 2] *= 60.0
    return dataclasses.replace(logged, observations=observations)


def episodes(steps, seed=0, length=8):
    """Observations, actions and ends of a few episodes."""
    random = np.random.default_rng(seed)
    return cf.Episodes.from_arrays(
        observations=random.random((steps, AGENTS, OBSERVATION), np.float32),
        actions=random.integers(0, ACTIONS, (steps, AGENTS)),
        states=random.random((steps, STATE), np.float32),
        ends=np.arange(steps) % length == length - 1,
    )


def replay(agents, logged):
    """Let agents observe logged episodes; yields each step's number and the model's joint history there."""
    dataset = cf.HistoryDataset(logged, LENGTH)
    histories = np.asarray(dataset.joint(np.arange(logged.num_steps)).histories)
    starts = set(logged.starts.tolist())
    for step in range(logged.num_steps):
        for number, agent in enumerate(agents):
            taken = int(logged.actions[step - 1, number])
            agent.observe(logged.observations[step, number], taken, step, begins=step in starts)
        yield step, histories[step]
