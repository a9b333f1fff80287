"""Which features of a large state an agent should speak of: those that its observations are most correlated with.

    r_i[c, k] = max over the H steps of |corr(observation entry c of agent i, feature k)|,    over training steps

For each entry the q features of largest r are kept, in the order of the entries, so that the same slot of every agent's
answer belongs to the same entry. A pair that is no more correlated than chance leaves its slot empty.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.ranges import history_range
from composite_flow.fusion.answers import Prior, prior_of
from composite_flow.fusion.features import find_types
from composite_flow.fusion.joint_steps import OwnSteps
from composite_flow.history import HistoryLayout
from composite_flow.training.loss import arrays_of

FEATURES_PER_ENTRY = 2  # q
MOST_PRODUCTS = 2e10  # multiplications of screening: one to four seconds on two cores
MOST_STEPS = 2**14  # more tell little more
SAMPLED_STEPS = 1024  # from which mean histories and their ranges are taken
BY_CHANCE = 5.0  # correlations of n steps below this many times 1/√n are taken for chance


def prefers_sparse(layout: HistoryLayout, state_size: int) -> bool:
    """Whether sparse answers should be learned in place of dense ones.

    A dense head computes, stores and sums agents · state numbers for each joint history, where a sparse one has agents
    · (q · observation + 1). Beyond 10,000 numbers a batch of 256 of them takes tens of megabytes in each array of a
    step, and the head more time than the layers below it. Where observations have so many entries that slots
    would hold a fourth of the state, dense answers lose nothing.
    """
    large = layout.num_agents * state_size > 10_000
    return large and 4 * (FEATURES_PER_ENTRY * layout.observation_size + 1) < state_size


def screen(
    train: HistoryDataset, features_per_entry: int = FEATURES_PER_ENTRY, *, key: PRNGKeyArray
) -> Int[np.ndarray, "agents slots"]:
    """The features that each agent speaks of, q for each entry of its observations.

    Args:
        train: the training steps, in memory.
        features_per_entry: q.
        key: draws the steps that are read, where they are more than can be read within seconds.

    Returns:
        Feature numbers, slot q · c + j the j-th most correlated with entry c; the number of features where a slot is
        empty.
    """
    layout, state_size = train.layout, train.state_size
    affordable = MOST_PRODUCTS / (layout.length * layout.num_agents * layout.observation_size * state_size)
    count = int(min(train.num_steps, MOST_STEPS, max(affordable, 256)))
    steps = jax.random.choice(key, train.steps, (count,), replace=False)
    histories, states = _columns(arrays_of(train), steps)
    return np.asarray(strongest(histories, states, min(features_per_entry, state_size)))


@eqx.filter_jit
def _columns(train, steps: Int[Array, " k"]):
    """The observations and the states of these steps."""
    histories, states = OwnSteps(train).at(steps)
    observations = histories[..., train.layout.parts["observations"]]
    return observations.reshape(*observations.shape[:2], train.layout.length, -1), states


@eqx.filter_jit
def strongest(
    observations: Float[Array, "steps agents length observation"], states: Float[Array, "steps state"], count: int
) -> Int[Array, "agents slots"]:
    """The `count` features most correlated with each entry; where that is no more than chance, their number."""
    num_steps, agents, _, entries = observations.shape
    features = _standardised(states)

    def of_lag(entry: Float[Array, "steps columns"]) -> Float[Array, "columns state"]:
        return jnp.abs(_standardised(entry).T @ features)

    lags = jnp.moveaxis(observations, 2, 0).reshape(-1, num_steps, agents * entries)
    correlation = jax.lax.fori_loop(
        0,
        len(lags),
        lambda lag, most: jnp.maximum(most, of_lag(lags[lag])),
        jnp.zeros((agents * entries, states.shape[1])),
    )
    values, places = jax.lax.top_k(correlation, count)
    slots = jnp.where(values > BY_CHANCE / num_steps**0.5, places, states.shape[1])
    return slots.reshape(agents, entries * count)


def _standardised(columns: Float[Array, "steps columns"]) -> Float[Array, "steps columns"]:
    """Columns of mean 0 and norm 1; 0 where a column is constant."""
    centred = columns - jnp.mean(columns, axis=0, keepdims=True)
    norm = jnp.linalg.norm(centred, axis=0, keepdims=True)
    return centred / jnp.where(norm > 0.0, norm, 1.0)


SparseParts = tuple[
    Int[np.ndarray, "agents slots"],
    Float[Array, "agents own"],
    tuple[Float[Array, " own"], Float[Array, " own"]],
    Prior,
]


def sparse_parts(
    train: HistoryDataset, features_per_entry: int = FEATURES_PER_ENTRY, *, key: PRNGKeyArray
) -> SparseParts:
    """What sparse answers take from the training steps: slots, mean histories, ranges and the prior."""
    key_screen, key_prior, key_steps = jax.random.split(key, 3)
    slots = screen(train, features_per_entry, key=key_screen)
    draw = eqx.filter_jit(lambda data, steps: OwnSteps(data).at(steps))
    histories, _ = draw(arrays_of(train), _some(train, SAMPLED_STEPS, key_steps))
    # the prior of rare features needs more steps than means do
    states = train.windows.device_arrays[2][_some(train, MOST_STEPS, key_prior)]
    scaled = np.asarray(train.windows.scaled_states(states))
    own = histories.shape[2]
    low, high = (limit[:own] for limit in history_range(train.windows, np.asarray(train.steps)))
    prior = prior_of(scaled, find_types(scaled, train.windows.declared_types))
    return slots, jnp.mean(histories, axis=0), (low, high), prior


def _some(train: HistoryDataset, most: int, key: PRNGKeyArray) -> Int[Array, " k"]:
    """At most so many of the training steps, each once."""
    return jax.random.choice(key, train.steps, (min(most, train.num_steps),), replace=False)
