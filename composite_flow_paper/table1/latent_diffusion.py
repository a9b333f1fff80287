"""A diffusion model with a latent mode at Table 1's default, beside fusion: all histories in one place, and samples.

It has as many weights as fusion. Like joint regression it reads all histories at once, at the cost of one, and learns
from four times as many joint histories a step. It is judged at its best step on validation episodes.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.analysis.sample_scores import scoring_library
from composite_flow.baselines.latent_diffusion import LatentDiffusion, diffusion_losses, diffusion_samples
from composite_flow.baselines.regression import JointPairs, concatenated_histories
from composite_flow.baselines.training import TrainedBaseline, building, matching_width, train_baseline
from composite_flow.data.dataset import JointBatch
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, judged
from composite_flow_paper.table1.fusion import parameters_of_fusion
from composite_flow_paper.table1.joint_samples import NUM_SAMPLES, drawing
from composite_flow_paper.table1.tuning import num_trained, prior_of_training, train_tuned, validating

_VALIDATION_STEPS, _VALIDATION_SAMPLES = 500, 4
_AT_ONCE = 64  # joint histories


def compute_latent_diffusion(
    settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train the diffusion model, judge a sample and the mean of 16, and score these; as in `cell.compute`."""
    scoring_library()  # whoever lacks it hears of that before training
    tuned = train_tuned("latent_diffusion", latent_diffusion, settings, setting, seed, workspace)
    network, division, key_judge = tuned.trained.best, tuned.division, jax.random.split(jax.random.key(seed))[1]
    workspace.progress("samples")

    def samples(joint: JointBatch) -> Float[Array, "steps samples state"]:
        return _samples(network, joint.histories, key_judge, NUM_SAMPLES)

    return {
        "parameters": num_trained(network, "history_minimum", "history_maximum", "mean", "scale"),
        **tuned.facts,
        **judged(settings, division, seed, drawing({"samples": samples}), None, scored=["samples"]),
    }


def latent_diffusion(
    settings: Table1Settings, setting: Setting, division: Division, key: PRNGKeyArray, progress: Progress
) -> TrainedBaseline:
    """The diffusion model with fusion's number of weights, validated by the mean of four samples."""
    _, prior = prior_of_training(division)
    low, high = (jnp.tile(limit, division.train.num_agents) for limit in division.history_range)
    scale = jnp.sqrt(jnp.mean(1.0 / prior.precision))

    def build(width: int) -> Callable[[PRNGKeyArray], LatentDiffusion]:
        return building(LatentDiffusion, (low, high), prior.mean, scale, width, settings.training.depth)

    held_out = division.validation
    stride = max(1, held_out.num_steps // min(_VALIDATION_STEPS, settings.num_histories))
    width = matching_width(lambda width, key: build(width)(key), parameters_of_fusion(settings, setting, division))
    return train_baseline(
        build(width),
        JointPairs(division.train),
        settings.training,
        key=key,
        losses=diffusion_losses,
        validate=validating(_validation_means, held_out.joint(held_out.steps[::stride])),
        progress=told_steps(progress),
    )


def _validation_means(
    network: LatentDiffusion, histories: Float[Array, "steps agents history"]
) -> Float[Array, "steps 1 state"]:
    samples = _samples(network, histories, jax.random.key(0), _VALIDATION_SAMPLES)
    return jnp.mean(samples, axis=1, keepdims=True)


@eqx.filter_jit
def _samples(
    network: LatentDiffusion, histories: Float[Array, "steps agents history"], key: PRNGKeyArray, num_samples: int
) -> Float[Array, "steps {num_samples} state"]:
    def of_step(example):
        history, key = example
        return diffusion_samples(network, history, key=key, num_samples=num_samples)

    examples = concatenated_histories(histories), jax.random.split(key, len(histories))
    return jax.lax.map(of_step, examples, batch_size=min(_AT_ONCE, len(histories)))
