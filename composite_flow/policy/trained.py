"""A trained policy: it acts by the contract of policies."""

import dataclasses
import hashlib
from typing import Any

import equinox as eqx
import jax
import numpy as np

from composite_flow.errors import InputError, MismatchError
from composite_flow.policy.inputs import OWN_ALONE
from composite_flow.policy.sequence_network import Networks, SequenceNetwork
from composite_flow.policy.talking import TalkingActor
from composite_flow.policy.team import Team, TeamMemory, decide, fresh_memory
from composite_flow.problems.base import Policy
from composite_flow.problems.host import AnyProblem


class TrainedPolicy(Policy):
    """Every agent acts on what it sees, infers and remembers, by the networks that all agents share.

    Attributes:
        team: actor, what else its input needs, and the denoiser, where there is one.
        num_agents, num_actions, observation_size: of the problems that it can act in.
        greedy: take the likeliest action instead of drawing one.
        steps: of the environment that it was trained for.
    """

    team: Team
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    greedy: bool = eqx.field(static=True, default=False)
    steps: int = eqx.field(static=True, default=0)

    @property
    def actor(self) -> SequenceNetwork | TalkingActor:
        """The network that acts."""
        return self.team.networks.actor

    @property
    def description(self) -> dict[str, Any]:
        """A digest of the weights, and what else tells this policy from others."""
        about = {"kind": "mappo", "weights": weights_digest(self.actor), "steps": self.steps, "greedy": self.greedy}
        kind = self.team.inputs.kind
        return about if kind == OWN_ALONE else {**about, "inputs": kind, "denoiser": weights_digest(self.team.denoiser)}

    def start(self, num_agents: int) -> TeamMemory:
        """What the team remembers before an episode."""
        return fresh_memory(self.team, num_agents)

    def act(self, key, memory, observations, available):
        """Draw every agent's action, or take its likeliest.

        Raises:
            InputError: the policy needs the true state, which only `evaluate_policy` and training can give it.
        """
        if self.team.inputs.reads_state:
            raise InputError("A policy that acts on the true state cannot act where only observations are to be had.")
        memory, decision = decide(self.team, key, memory, observations, available, greedy=self.greedy)
        return memory, decision.actions

    def check(self, problem: AnyProblem) -> None:
        """Refuse a problem of other sizes than this policy's.

        Raises:
            MismatchError: the number of agents, actions or observation features differs.
        """
        for name in ("num_agents", "num_actions", "observation_size"):
            ours, theirs = getattr(self, name), getattr(problem, name)
            if ours != theirs:
                raise MismatchError(
                    f"The policy was trained with {name} = {ours}, the problem has {theirs}; use a policy of its kind."
                )


def team_that_acts(team: Team) -> Team:
    """Without the networks that only learning needs."""
    inputs, networks = team.inputs, team.networks
    critic = networks.critic if inputs.needs_state_values else None
    values = networks.values if inputs.needs_action_values else None
    return dataclasses.replace(team, networks=Networks(networks.actor, critic, values))


def weights_digest(weights: Any) -> str:
    """A digest of all arrays, by which weights are told from others."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(weights, eqx.is_array)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]
