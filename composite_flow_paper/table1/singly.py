"""Agents trained singly at Table 1's default, beside fusion: what their answers come to when they are combined after.

The network is fusion's, and learns from as many joint histories a step. It is judged at its best step on validation
episodes.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.baselines.singly import (
    as_product,
    covariance_intersection,
    most_certain,
    own_estimates,
    single_losses,
)
from composite_flow.baselines.training import TrainedBaseline, building, train_baseline
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.posterior import posterior
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, judged
from composite_flow_paper.table1.fusion import parameters_of_fusion
from composite_flow_paper.table1.tuning import (
    joint_training,
    prior_of_training,
    train_tuned,
    validating,
    validation_steps,
)


def compute_singly(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers by each agent's own error and judge what they say together; arguments as in `cell.compute`."""
    tuned = train_tuned("singly", singly, settings, setting, seed, workspace)
    return {
        "parameters": parameters_of_fusion(settings, setting, tuned.division),
        **tuned.facts,
        **judged(settings, tuned.division, seed, _combining(tuned.trained.best), None),
    }


def singly(
    settings: Table1Settings, setting: Setting, division: Division, key: PRNGKeyArray, progress: Progress
) -> TrainedBaseline:
    """Fusion's network, trained and validated by what each agent says alone."""
    steps = JointSteps(division.train)
    mean_histories, prior = prior_of_training(division)

    options = (settings.fusion_width, settings.training.depth)
    return train_baseline(
        building(AnswerNetwork, mean_histories, division.history_range, prior, *options),
        steps,
        joint_training(settings, division),
        key=key,
        losses=single_losses,
        validate=validating(_own_means, validation_steps(settings, division)),
        progress=told_steps(progress),
    )


def _own_means(
    answers: AnswerNetwork, histories: Float[Array, "steps agents history"]
) -> Float[Array, "steps agents state"]:
    return jax.vmap(lambda each: own_estimates(answers.prior, answers.answer_each(each))[0])(histories)


def _combining(answers: AnswerNetwork):
    """What the agents say alone, and combined as a product, by covariance intersection and by their mean."""

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps _ state"]]:
        return _combined(answers, joint.histories)

    return estimate


@eqx.filter_jit
def _combined(
    answers: AnswerNetwork, histories: Float[Array, "steps agents history"]
) -> dict[str, Float[Array, "steps _ state"]]:
    def of_step(histories):
        each = answers.answer_each(histories)
        means, precisions = own_estimates(answers.prior, each)
        total = jax.tree.map(lambda part: jnp.sum(part, axis=0), as_product(answers.prior, each))
        return {
            "individual": means,
            "product": posterior(answers.prior, total)[0][None],
            "intersection": covariance_intersection(means, precisions)[0][None],
            "most_certain": most_certain(means, precisions)[None],
            "mean": jnp.mean(means, axis=0, keepdims=True),
        }

    return jax.lax.map(of_step, histories, batch_size=256)
