"""The gated chain at Table 1's default, beside fusion: one message goes from agent to agent.

The network has fusion's width and depth and learns from as many joint histories a step. It is judged at its best step
on validation episodes.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.baselines.training import TrainedBaseline, building, train_baseline
from composite_flow.composite.reconstruct import composite_flow
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.chain import ChainNetwork, chain_losses
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, judged
from composite_flow_paper.table1.fusion import places_in_line
from composite_flow_paper.table1.tuning import (
    joint_training,
    num_trained,
    prior_of_training,
    train_tuned,
    validating,
    validation_steps,
)


def compute_chain(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train the gated chain and judge it; arguments as in `cell.compute`."""
    tuned = train_tuned("chain", chain, settings, setting, seed, workspace)
    network, division = tuned.trained.best, tuned.division
    _, key_judge = jax.random.split(jax.random.key(seed))
    return {
        "parameters": num_trained(network, "history_minimum", "history_maximum", "prior_mean"),
        **tuned.facts,
        **judged(settings, division, seed, _passing(network, key_judge), None),
    }


def chain(
    settings: Table1Settings, setting: Setting, division: Division, key: PRNGKeyArray, progress: Progress
) -> TrainedBaseline:
    """The chain's network, validated after one sweep."""
    steps = JointSteps(division.train)
    _, prior = prior_of_training(division)

    return train_baseline(
        building(ChainNetwork, division.history_range, prior.mean, settings.fusion_width, settings.training.depth),
        steps,
        joint_training(settings, division),
        key=key,
        losses=chain_losses,
        validate=validating(_last_messages, validation_steps(settings, division)),
        progress=told_steps(progress),
    )


def _last_messages(
    network: ChainNetwork, histories: Float[Array, "steps agents history"]
) -> Float[Array, "steps 1 state"]:
    """After all agents in their own order."""
    orders = jnp.broadcast_to(jnp.arange(histories.shape[1]), histories.shape[:2])
    return _messages(network, histories, orders)[:, -1:]


@eqx.filter_jit
def _messages(
    network: ChainNetwork, histories: Float[Array, "steps agents history"], orders: Int[Array, "steps hops"]
) -> Float[Array, "steps hops state"]:
    """The message after each hop."""

    def of_step(example):
        each, order = example
        return composite_flow(network, jax.vmap(network.condition)(each), order, network.prior_mean)[1:]

    return jax.lax.map(of_step, (histories, orders), batch_size=256)


def _passing(network: ChainNetwork, key: PRNGKeyArray):
    """The message after some agents in a random order, after all of them, and after all once more in another order."""

    def estimate(joint: JointBatch) -> Mapping[str, Float[Array, "steps 1 state"]]:
        num_steps, num_agents = joint.histories.shape[:2]
        # the first agents in line are those of fusion's smaller teams
        sweeps = [jnp.argsort(places_in_line(one, num_steps, num_agents)) for one in (key, jax.random.fold_in(key, 2))]
        messages = _messages(network, joint.histories, jnp.concatenate(sweeps, axis=1))
        hops = {f"chain_{size}_of_{num_agents}": size for size in range(1, num_agents)}
        hops |= {"chain": num_agents, "second_sweep": 2 * num_agents}
        return {name: messages[:, hop - 1 : hop] for name, hop in hops.items()}

    return estimate
