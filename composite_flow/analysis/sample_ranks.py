"""Whether samples are spread as the posterior is: the rank of the true state among them, over many steps.

    rank_k = number of samples with x_ik < s_k                        of one feature: rank histograms
    rank   = number of samples with ‖x_i − r‖ < ‖s − r‖               of the whole state: TARP, r a reference point

Ties are broken at random. Where the state and M samples of it are draws of one distribution, given the histories, every
rank from 0 to M is equally likely. Samples too narrow put the truth at the ends, samples too wide in the middle, a
bias at one end. A feature's ranks say nothing of how features go together; distances from random points do.

Both are blind to what samples leave out: samples of the prior, whatever was seen, have flat ranks too. Hold them
beside a proper score (`sample_scores`), which falls as samples learn from the histories.

References: Talagrand et al. 1997 and Talts et al. 2018 (ranks); Lemos et al. 2023 (TARP).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray


class RankHistogram(eqx.Module):
    """How often the truth had each rank, of each feature or of the whole state.

    Attributes:
        counts: of the ranks 0 to M.
    """

    counts: Int[np.ndarray, "*features ranks"]

    @property
    def shares(self) -> Float[np.ndarray, "*features ranks"]:
        """Of all steps; 1/(M + 1) each where samples are of the posterior."""
        return self.counts / self.counts.sum(axis=-1, keepdims=True)

    @property
    def levels(self) -> Float[np.ndarray, " levels"]:
        """j/(M + 1), j = 0, …, M + 1: the coverage that samples of the posterior have at `coverage`'s places."""
        return np.linspace(0.0, 1.0, self.counts.shape[-1] + 1)

    @property
    def coverage(self) -> Float[np.ndarray, "*features levels"]:
        """How often the rank is below j; TARP's expected coverage. It equals `levels` for samples of the posterior."""
        return np.concatenate([np.zeros((*self.counts.shape[:-1], 1)), np.cumsum(self.shares, axis=-1)], axis=-1)

    @property
    def tilt(self) -> Float[np.ndarray, "*features"]:
        """2 mean rank/M − 1, between −1 and 1: 0 without bias, above 0 where samples lie below the truth."""
        ranks = np.arange(self.counts.shape[-1])
        return np.asarray(2.0 * self.shares @ ranks / ranks[-1] - 1.0)

    @property
    def spread(self) -> Float[np.ndarray, "*features"]:
        """The mean of (rank − M/2)² over that of a flat histogram: above 1 where samples are too narrow (or biased),
        below 1 where they are too wide, at most 3 M/(M + 2)."""
        ranks = np.arange(self.counts.shape[-1])
        middle = ranks[-1] / 2.0
        return np.asarray(self.shares @ (ranks - middle) ** 2 / np.mean((ranks - middle) ** 2))

    @property
    def gap(self) -> Float[np.ndarray, "*features"]:
        """The largest difference of coverage and level; about 1/√steps where samples are of the posterior."""
        return np.asarray(np.max(np.abs(self.coverage - self.levels), axis=-1))

    def p_values(self) -> Float[np.ndarray, "*features"]:
        """Of Pearson's χ² test that all ranks are equally likely, with M degrees of freedom.

        It takes the steps for independent, so rank one step of each episode, and five or more for each rank.
        """
        from scipy import stats

        return np.asarray(stats.chisquare(self.counts, axis=-1).pvalue)


def feature_ranks(
    samples: Float[Array, "steps samples state"], states: Float[Array, "steps state"], *, key: PRNGKeyArray
) -> RankHistogram:
    """The rank histogram of each feature.

    Args:
        samples: M of each step.
        states: the truth.
        key: breaks ties, which are the rule for features of two values.
    """
    return _histogram(_ranks(samples, states, key), samples.shape[1])


def tarp(
    samples: Float[Array, "steps samples state"],
    states: Float[Array, "steps state"],
    references: Float[Array, "steps state"] | None = None,
    *,
    key: PRNGKeyArray,
) -> RankHistogram:
    """Tests of accuracy with random points: the rank of the truth by distance from a reference point.

    Args:
        samples: M of each step.
        states: the truth, scaled to [0, 1] where no references are given.
        references: a point for each step, which must not depend on its true state; by default uniform in [0, 1].
        key: draws the reference points, and breaks ties.
    """
    key_references, key_ties = jax.random.split(key)
    if references is None:
        references = jax.random.uniform(key_references, states.shape)
    distances = jnp.linalg.norm(samples - references[:, None], axis=-1)
    return _histogram(_ranks(distances, jnp.linalg.norm(states - references, axis=-1), key_ties), samples.shape[1])


def _ranks(
    samples: Float[Array, "steps samples *features"], truth: Float[Array, "steps *features"], key: PRNGKeyArray
) -> Int[Array, "steps *features"]:
    """How many samples are smaller, and of those that are equal a uniformly random number."""
    below = jnp.sum(samples < truth[:, None], axis=1)
    equal = jnp.sum(samples == truth[:, None], axis=1)
    return below + jax.random.randint(key, truth.shape, 0, equal + 1)


def _histogram(ranks: Int[Array, "steps *features"], num_samples: int) -> RankHistogram:
    columns = np.asarray(ranks).reshape(len(ranks), -1)
    counts = [np.bincount(column, minlength=num_samples + 1) for column in columns.T]
    return RankHistogram(np.stack(counts).reshape(*ranks.shape[1:], num_samples + 1))
