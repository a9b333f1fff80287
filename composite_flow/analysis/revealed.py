"""What an answer reveals of a history: how well an agent's history can be told from what it sends.

    R² = 1 − Σ ‖h − ĥ‖² / Σ ‖h − h̄_i‖²

over held-out steps, all agents, and the columns h of one part of the history, such as the last observation; h̄_i is the
mean of agent i's training histories, which is known without any answer. The estimate ĥ is regressed on

    state     the true state, which a good fused estimate comes near: what everybody learns of the history anyway
    answer    what the agent sends
    both      so that R² of both less R² of the state is what the answer tells beside the state

by ridge regression, one for each agent, and by one network that also reads who answers. These are lower bounds of what
can be told: a better regression may tell more. 0 is as good as knowing nothing, and below 0 the regression overfits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.baselines.regression import regression_estimates, regression_losses
from composite_flow.baselines.ridge import Moments, best_ridge
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Answers
from composite_flow.history import HistoryLayout
from composite_flow.network import Network

SOURCES = ("state", "answer", "both")
SMALLEST = 1e-12  # of weights and precisions, whose logarithm is taken
_AT_ONCE, _TEAMS = 4096, 256  # rows, and joint histories, of one call

Steps = tuple[Float[Array, "steps agents history"], Float[Array, "steps state"]]
"""Joint histories and states, as `JointSteps.sample` draws them."""
Rows = Float[np.ndarray, "steps agents columns"]


@dataclass(frozen=True)
class NetworkSettings:
    """Of the network that learns to tell histories.

    Attributes:
        width, depth: of its hidden layers.
        batch: histories of a step of Adam.
        blocks, block_steps: blocks of so many steps; the network after the best of them counts.
        learning_rate: at the start.
    """

    width: int = 128
    depth: int = 3
    batch: int = 512
    blocks: int = 15
    block_steps: int = 200
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Revealed:
    """How much of one part of the histories is revealed.

    Attributes:
        columns: of the part.
        ridge: R² of ridge regression on each of `SOURCES`.
        network: R² of the network.
    """

    columns: int
    ridge: dict[str, float]
    network: dict[str, float]


def history_parts(layout: HistoryLayout) -> dict[str, slice]:
    """The columns of the last observation, of the observations before, and of the actions, as far as there are any."""
    columns = layout.parts
    last = columns["observations"].stop - layout.observation_size
    parts = {
        "last observation": slice(last, columns["observations"].stop),
        "observations before": slice(0, last),
        "actions": columns["actions"],
    }
    return {name: part for name, part in parts.items() if part.stop > part.start}


def revealed(
    answers: Answers,
    train: Steps,
    held_out: Steps,
    parts: Mapping[str, slice],
    *,
    key: PRNGKeyArray,
    settings: NetworkSettings = NetworkSettings(),
) -> dict[str, Revealed]:
    """Regress histories on answers, on states, and on both.

    Args:
        answers: what each agent says, already trained.
        train: steps from which is learned to tell histories; best others than those that trained the answers.
        held_out: steps of other episodes, on which R² is measured.
        parts: columns of the histories by name, such as `history_parts(layout)`.
        key: initial weights and batches of the network.
        settings: of the network.

    Raises:
        InputError: there are too few training steps to hold some out, or nothing varies in a part.
    """
    if len(train[1]) < 10:
        raise InputError(f"Give at least 10 training steps, not {len(train[1])}.")
    known, unseen = _sources(answers, train), _sources(answers, held_out)
    learned, true = np.asarray(train[0]), np.asarray(held_out[0])
    mean = learned.mean(axis=0, keepdims=True)
    spread = np.sum((true - mean) ** 2, axis=(0, 1))
    constant = [name for name, part in parts.items() if not spread[part].any()]
    if constant:
        raise InputError(f"Nothing varies in the part {constant[0]!r} of the histories; leave it out.")
    errors = {"ridge": {}, "network": {}}
    for source in SOURCES:
        data = known[source], learned - mean, unseen[source]
        for name, told in (("ridge", _by_ridge(*data)), ("network", _by_network(*data, settings, key))):
            errors[name][source] = np.sum((true - mean - told) ** 2, axis=(0, 1))

    def share(found: np.ndarray, part: slice) -> float:
        return float(1.0 - found[part].sum() / spread[part].sum())

    return {
        name: Revealed(
            part.stop - part.start,
            **{kind: {s: share(error, part) for s, error in found.items()} for kind, found in errors.items()},
        )
        for name, part in parts.items()
    }


def sent_values(answers: Answers, histories: Float[Array, "steps agents history"]) -> Rows:
    """What every agent sends, as numbers of similar sizes.

    Of numbers μ − s̄ = η/λ, log λ and log ρ; of other features l; and the free numbers.
    """
    blocks = (histories[first : first + _TEAMS] for first in range(0, len(histories), _TEAMS))
    said = jax.tree.map(lambda *parts: np.concatenate(parts), *(_answers(answers, block) for block in blocks))
    number, weighted = answers.prior.types.is_number, said.weight > 0
    mean = np.where(weighted, said.evidence / np.where(weighted, said.weight, 1.0), said.evidence)
    logs = (np.log(np.maximum(part[..., number], SMALLEST)) for part in (said.weight, said.precision))
    return np.concatenate([mean, *logs, said.free], axis=-1)


@eqx.filter_jit
def _answers(answers: Answers, histories) -> Answer:
    return jax.vmap(answers.answer_each)(histories)


def _sources(answers: Answers, steps: Steps) -> dict[str, Rows]:
    """What histories are regressed on, by name, each for every agent."""
    histories, states = steps
    said = sent_values(answers, histories)
    state = np.broadcast_to(np.asarray(states)[:, None], (*said.shape[:2], states.shape[1]))
    return dict(zip(SOURCES, (state, said, np.concatenate([state, said], axis=-1)), strict=True))


def _standardised(train: Rows, held_out: Rows) -> tuple[Rows, Rows]:
    """Both, with each agent's columns less their mean and over their deviation in training; constant ones are 0."""
    mean, deviation = train.mean(axis=0, keepdims=True), train.std(axis=0, keepdims=True)
    scale = np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0)
    return (train - mean) * scale, (held_out - mean) * scale


def _by_ridge(known: Rows, learned: Rows, unseen: Rows) -> Rows:
    """The estimates of a ridge regression of each agent."""
    known, unseen = _standardised(known, unseen)
    cut = len(known) - len(known) // 5
    return best_ridge(Moments.of([(known[:cut], learned[:cut])]), [(known[cut:], learned[cut:])])(unseen)


def _by_network(known: Rows, learned: Rows, unseen: Rows, settings: NetworkSettings, key: PRNGKeyArray) -> Rows:
    """The estimates of one network for all agents, that of the block of steps with the smallest held-out error."""
    known, unseen = (_with_identity(rows) for rows in _standardised(known, unseen))
    cut = len(known) - len(known) // 5
    inputs, targets, others = _rows(known[:cut]), _rows(learned[:cut]), _rows(known[cut:])
    key_network, key_steps = jax.random.split(key)
    sizes = known.shape[-1], learned.shape[-1], settings.width, settings.depth
    network = best = Network(*sizes, history_at="input", key=key_network)
    moments, smallest = _optimiser(settings).init(network), np.inf  # pyright: ignore[reportArgumentType]
    for key in jax.random.split(key_steps, settings.blocks):
        network, moments = _train(network, moments, inputs, targets, settings, key)
        error = float(np.mean((_estimates(network, others) - _rows(learned[cut:])) ** 2))
        if error < smallest:
            best, smallest = network, error
    return _estimates(best, _rows(unseen)).reshape(*unseen.shape[:2], -1)


@eqx.filter_jit
def _train(network: Network, moments, inputs, targets, settings: NetworkSettings, key: PRNGKeyArray) -> Any:
    """The network and Adam's moments after a block of steps on the squared error."""

    def step(carry, key):
        network, moments = carry
        rows = jax.random.randint(key, (settings.batch,), 0, len(inputs))
        gradient = jax.grad(lambda n: jnp.mean(regression_losses(n, inputs[rows], targets[rows], key)))(network)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # Optax mixes weak types
            change, moments = _optimiser(settings).update(gradient, moments)
            return (optax.apply_updates(network, change), moments), None

    return jax.lax.scan(step, (network, moments), jax.random.split(key, settings.block_steps))[0]


def _optimiser(settings: NetworkSettings) -> optax.GradientTransformation:
    """With a rate that falls to zero along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.blocks * settings.block_steps))


def _rows(values: Rows) -> Float[Array, "rows columns"]:
    return jnp.asarray(values.reshape(-1, values.shape[-1]), jnp.float32)


def _with_identity(rows: Rows) -> Rows:
    """With the number of the agent, one-hot, behind them."""
    agents = rows.shape[1]
    return np.concatenate([rows, np.broadcast_to(np.eye(agents, dtype=rows.dtype), (*rows.shape[:2], agents))], axis=-1)


def _estimates(network: Network, inputs: Float[Array, "rows inputs"]) -> np.ndarray:
    parts = [inputs[first : first + _AT_ONCE] for first in range(0, len(inputs), _AT_ONCE)]
    return np.concatenate([np.asarray(eqx.filter_jit(regression_estimates)(network, part)) for part in parts])
