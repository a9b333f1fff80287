"""Proper scores of samples: on average each is least for samples of the state's own distribution.

    energy score       mean_i ‖x_i − s‖ − ½ mean_{i ≠ j} ‖x_i − x_j‖                        of the whole state
    CRPS               mean_i |x_ik − s_k| − ½ mean_{i ≠ j} |x_ik − x_jk|                   of one feature
    variogram score    mean_{k, l} (|s_k − s_l|^½ − mean_i |x_ik − x_il|^½)²                of pairs of features

The first two leave pairs of a sample with itself out, so that on average they do not depend on how many samples there
are (Ferro 2014). Only the third sees well whether features go together; a common shift of all does not change it.
Computed by `scoringrules` (extra `scores`).

References: Gneiting and Raftery 2007; Scheuerer and Hamill 2015.
"""

from types import ModuleType

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.errors import InputError

_STEPS_AT_ONCE = 64  # whose samples' differences are in memory, state × state numbers each


class SampleScores(eqx.Module):
    """Scores of samples, of each time step or averaged over them; 0 where all samples are the state.

    Attributes:
        energy: in units of the state.
        crps: the mean over features, in units of the state.
        variogram: in those units, as its power is ½.
    """

    energy: Float[Array, "*batch"]
    crps: Float[Array, "*batch"]
    variogram: Float[Array, "*batch"]


def scores_of_steps(samples: Float[Array, "steps samples state"], states: Float[Array, "steps state"]) -> SampleScores:
    """The three scores of each time step.

    Args:
        samples: of each step, two or more.
        states: the truth.

    Raises:
        InputError: fewer than two samples a step, or the extra is not installed.
    """
    scoring_library()
    if samples.shape[1] < 2:
        raise InputError("Scores of samples compare them with each other; give at least two.")
    return _scores(samples, states)


def sample_scores(samples: Float[Array, "steps samples state"], states: Float[Array, "steps state"]) -> SampleScores:
    """The means of `scores_of_steps` over all steps."""
    return jax.tree.map(jnp.mean, scores_of_steps(samples, states))


def scoring_library() -> ModuleType:
    """`scoringrules`; call it before long work whose end needs it.

    Raises:
        InputError: it is not installed.
    """
    try:
        import scoringrules
    except ImportError as error:
        raise InputError('Scores of samples need scoringrules: pip install "composite-flow[scores]".') from error
    return scoringrules


@eqx.filter_jit
def _scores(samples: Float[Array, "steps samples state"], states: Float[Array, "steps state"]) -> SampleScores:
    rules, num_pairs = scoring_library(), samples.shape[-1] ** 2

    def of_step(step):
        drawn, state = step
        return SampleScores(
            energy=rules.es_ensemble(state, drawn, estimator="fair", backend="jax"),
            crps=jnp.mean(rules.crps_ensemble(state, drawn, m_axis=0, estimator="fair", backend="jax")),
            variogram=rules.vs_ensemble(state, drawn, p=0.5, backend="jax") / num_pairs,
        )

    return jax.lax.map(of_step, (samples, states), batch_size=min(len(states), _STEPS_AT_ONCE))
