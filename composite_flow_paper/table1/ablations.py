"""Fusion at Table 1's default without one of its parts, else trained and judged as it is.

| ablation | without |
|---|---|
| `without_centring` | what the network says of an agent's mean history is not taken off |
| `one_precision` | the weight of an answer is also what it claims of its error |
| `whole_teams` | every step trains the whole team alone, no smaller ones |
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.baselines.training import building, train_baseline
from composite_flow.fusion.answers import Answer, Answers
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.loss import fusion_losses, losses_of_teams
from composite_flow.fusion.network import AnswerNetwork
from composite_flow_paper.shared.cells import Workspace, told_steps
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged
from composite_flow_paper.table1.fusion import fusing, fusion_training, parameters_of_fusion
from composite_flow_paper.table1.tuning import joint_training, prior_of_training


class Uncentred(AnswerNetwork):
    """Says all that it knows, also what it says of the agent's mean history."""

    def _say(self, here: Float[Array, " width"], usual: Float[Array, " width"]) -> Answer:
        return super()._say(here, jnp.zeros_like(usual))


class OnePrecision(AnswerNetwork):
    """ρ = λ."""

    def _say(self, here: Float[Array, " width"], usual: Float[Array, " width"]) -> Answer:
        said = super()._say(here, usual)
        return Answer(said.evidence, said.weight, said.weight, said.free)


def whole_team_losses(
    answers: Answers,
    histories: Float[Array, "batch agents columns"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """Fusion's loss of the whole team; nothing is drawn."""
    del key
    return losses_of_teams(answers, histories, states, jnp.ones((len(histories), 1, histories.shape[1]), bool))


ABLATIONS = {
    "without_centring": (Uncentred, fusion_losses),
    "one_precision": (OnePrecision, fusion_losses),
    "whole_teams": (AnswerNetwork, whole_team_losses),
}
"""The network and its loss."""


def compute_ablation(
    name: str, settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train fusion without one of its parts and judge it; else as in `cell.compute`."""
    network, losses = ABLATIONS[name]
    played, division = divided(settings.worlds, setting, seed, workspace)
    key_fit, key_judge = jax.random.split(jax.random.key(seed))
    mean_histories, prior = prior_of_training(division)
    depth = settings.training.depth
    trained = train_baseline(
        building(network, mean_histories, division.history_range, prior, settings.fusion_width, depth),
        JointSteps(division.train),
        joint_training(replace(settings, training=fusion_training(settings)), division),
        key=key_fit,
        losses=losses,
        progress=told_steps(workspace.progress),
    )
    return {
        "world": played.facts,
        "parameters": parameters_of_fusion(settings, setting, division),
        "curves": trained.curves,
        **judged(settings, division, seed, fusing(trained.last, key_judge), None),
    }
