"""One step of any policy, with the states that its agents infer where it infers any."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.policy.team import decide
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.base import Memory, Policy


def acted(
    policy: Policy,
    key: PRNGKeyArray,
    memory: Memory,
    observations: Float[Array, "agents observation"],
    available: Bool[Array, "agents actions"],
    state: Float[Array, " state"],
) -> tuple[Memory, Int[Array, " agents"], Any]:
    """The next memory, the actions, and samples of the inferred state, (agents, samples, state), in its own units.

    Args:
        policy: who acts. The true state is shown to it where its input is the state.
        key: random key.
        memory: of the team.
        observations: what each agent sees.
        available: which actions each may take.
        state: the true one.
    """
    if not isinstance(policy, TrainedPolicy):
        return *policy.act(key, memory, observations, available), None
    team = policy.team
    memory, decision = decide(team, key, memory, observations, available, state, policy.greedy)
    samples = None if decision.samples is None else team.inputs.inference.scaling.unscale(decision.samples)
    return memory, decision.actions, samples
