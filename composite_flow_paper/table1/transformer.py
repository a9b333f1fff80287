"""A transformer over agents at Table 1's default, beside fusion: all histories in one place.

It has as many weights as fusion, learns from as many joint histories a step, and is judged at its best step on
validation episodes. One cell has learned from whole teams alone, another from teams of every size.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.baselines.training import Losses, TrainedBaseline, building, matching_width, train_baseline
from composite_flow.baselines.transformer import AgentTransformer, any_team_losses, whole_team_losses
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, judged
from composite_flow_paper.table1.fusion import parameters_of_fusion, places_in_line
from composite_flow_paper.table1.tuning import (
    joint_training,
    num_trained,
    prior_of_training,
    train_tuned,
    validating,
    validation_steps,
)


def compute_transformer(
    name: str, settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train the transformer, `transformer_of_any_team` with agents dropped; else as in `cell.compute`."""
    losses = any_team_losses if name == "transformer_of_any_team" else whole_team_losses
    tuned = train_tuned(name, partial(_transformer, losses), settings, setting, seed, workspace)
    network, key_judge = tuned.trained.best, jax.random.split(jax.random.key(seed))[1]
    smaller = losses is any_team_losses
    return {
        "parameters": num_trained(network, "history_minimum", "history_maximum"),
        **tuned.facts,
        **judged(settings, tuned.division, seed, _attending(network, key_judge, smaller), None),
    }


def _transformer(
    losses: Losses,
    settings: Table1Settings,
    setting: Setting,
    division: Division,
    key: PRNGKeyArray,
    progress: Progress,
) -> TrainedBaseline:
    """The transformer with fusion's number of weights, validated on whole teams."""
    _, prior = prior_of_training(division)

    def build(head_width: int) -> Callable[[PRNGKeyArray], AgentTransformer]:
        return building(AgentTransformer, division.history_range, prior.mean, head_width)

    width = matching_width(lambda width, key: build(width)(key), parameters_of_fusion(settings, setting, division))
    return train_baseline(
        build(width),
        JointSteps(division.train),
        joint_training(settings, division),
        key=key,
        losses=losses,
        validate=validating(_whole_teams, validation_steps(settings, division)),
        progress=told_steps(progress),
    )


def _whole_teams(
    network: AgentTransformer, histories: Float[Array, "steps agents history"]
) -> Float[Array, "steps 1 state"]:
    return _teams(network, histories, jnp.ones(histories.shape[:2], bool))


@eqx.filter_jit
def _teams(
    network: AgentTransformer, histories: Float[Array, "steps agents history"], teams: Bool[Array, "steps agents"]
) -> Float[Array, "steps 1 state"]:
    return jax.lax.map(lambda example: network(*example), (histories, teams), batch_size=256)[:, None]


def _attending(network: AgentTransformer, key: PRNGKeyArray, smaller: bool):
    """The estimates of whole teams, and of fusion's smaller ones where the network has learned from such."""

    def estimate(joint: JointBatch) -> Mapping[str, Float[Array, "steps 1 state"]]:
        num_steps, num_agents = joint.histories.shape[:2]
        places = places_in_line(key, num_steps, num_agents)
        sizes = range(1, num_agents) if smaller else ()
        teams = {"all": num_agents, **{f"{size}_of_{num_agents}": size for size in sizes}}
        return {name: _teams(network, joint.histories, places < size) for name, size in teams.items()}

    return estimate
