"""How far the truth lies from what teams say, in the terms in which they claim to know it.

    numbers            u_k = |s_k − ŝ_k| / √variance_k
    binary features    u_k = −log p(s_k)
    one of k           u = −log p(the true one), the same for each feature of the group

Teams are drawn at random for each size, and stay the same through an episode.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import SMALLEST_FREQUENCY, Answers
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import posterior
from composite_flow.numerics.batches import numbered_parts

_AT_ONCE = 2048  # steps read at a time
_IN_ONE_CALL = 64  # joint histories, so that memory is bounded


def claimed_scores(
    mean: Float[Array, " state"], variance: Float[Array, " state"], state: Float[Array, " state"], types: FeatureTypes
) -> Float[Array, " state"]:
    """u of each feature; all of them scaled."""
    numbers = jnp.abs(state - mean) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))
    probability = jnp.clip(mean, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    binary = -jnp.where(state > 0.5, jnp.log(probability), jnp.log1p(-probability))
    found = jnp.where(jnp.asarray(types.is_number), numbers, binary)
    for first, stop in types.groups:
        told = -jnp.log(probability[first:stop]) @ state[first:stop]
        found = found.at[first:stop].set(told)
    return found


def scores_of_teams(
    answers: Answers, dataset: HistoryDataset, sizes: tuple[int, ...], *, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, "steps sizes state"], Int[np.ndarray, " steps"]]:
    """u of one random team of each size, fixed for each episode, at all steps; and the episode of each step.

    Args:
        answers: what agents say.
        dataset: episodes that training has not seen.
        sizes: of the teams.
        key: draws the teams.
    """
    steps = np.asarray(dataset.steps)
    episodes = np.asarray(dataset.windows.episode_of_step)[steps]
    found = []
    for _, (rows, kept) in numbered_parts(len(steps), _AT_ONCE):
        joint = dataset.joint(steps[rows])
        scores = _team_scores(answers, joint.histories, joint.states, jnp.asarray(episodes[rows]), sizes, key)
        found.append(np.asarray(scores)[:kept])
    return np.concatenate(found), episodes


@eqx.filter_jit
def _team_scores(answers: Answers, histories, states, episodes, sizes: tuple[int, ...], key):
    def of_step(step):
        history, state, episode = step
        place = jax.random.permutation(jax.random.fold_in(key, episode), len(history))
        totals = answers.team_sums(history, place[None, :] < jnp.asarray(sizes)[:, None])
        mean, variance = jax.vmap(lambda total: posterior(answers.prior, total))(totals)
        score = jax.vmap(lambda m, v: claimed_scores(m, v, state, answers.prior.types))
        return score(mean, variance)

    return jax.lax.map(of_step, (histories, states, episodes), batch_size=min(_IN_ONE_CALL, len(states)))
