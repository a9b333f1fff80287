"""What the actor sees, besides its own observation: the one argument in which the variants of MAPPO differ.

    agent           nothing else
    observations    all agents' observations
    state           the true state, which only a simulator can give
    denoised        a state drawn from the agent's own inferred distribution p̂: no communication
    composite       a state by composite diffusion: one message per hop
    safe            of K states drawn from p̂ the one with the smallest value V(s)
    mean, quantile, cvar
                    of Q(s, ·) over K states drawn from p̂: a number for each action

The critic sees the true state in every variant. Q(s, a) is the expected return after an agent's action a in s.

Source: appendix C; `safe` and the last three are its examples (1) and (2).
"""

import math
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.problems.base import Problem

InputKind = Literal["agent", "observations", "state", "denoised", "composite", "safe", "mean", "quantile", "cvar"]

KINDS: tuple[InputKind, ...] = get_args(InputKind)
INFERRING: tuple[InputKind, ...] = KINDS[3:]
"""Those for which agents infer the state."""
VALUING: tuple[InputKind, ...] = KINDS[6:]
"""Those for which an action's value is learned."""
SAMPLING: tuple[InputKind, ...] = KINDS[5:]
"""Those that weigh several states."""


class Inputs(eqx.Module):
    """What the actor sees.

    Attributes:
        kind: one of the above.
        own: whether the agent's own observation stands beside a state or values; it is all that `agent` sees.
        inference: an `Inference`, how states are inferred; None where they are not.
        level: of `quantile` and `cvar`.
    """

    kind: InputKind = eqx.field(static=True, default="agent")
    own: bool = eqx.field(static=True, default=True)
    inference: Any = None
    level: float = eqx.field(static=True, default=0.25)

    def size(self, problem: Problem) -> int:
        """Columns of the actor's input."""
        shown = {"agent": 0, "observations": problem.num_agents * problem.observation_size}
        values = dict.fromkeys(VALUING, problem.num_actions)
        own = problem.observation_size if self._shows_own else 0
        return own + {**shown, **values}.get(self.kind, problem.state_size) + problem.num_agents

    @property
    def _shows_own(self) -> bool:
        return self.kind == "agent" or (self.own and self.kind != "observations")


def actor_inputs(
    inputs: Inputs,
    observations: Float[Array, "agents observation"],
    shown: Float[Array, "agents shown"] | None,
) -> Float[Array, "agents inputs"]:
    """Own observation, what is shown beside it, and the agent's number one-hot, as one network serves all agents.

    Args:
        inputs: what the actor sees.
        observations: each agent's own.
        shown: to each agent, as `what_is_shown` gives it; None for the kind `agent`.
    """
    columns = [observations.astype(jnp.float32)] if inputs._shows_own else []
    columns += [] if shown is None else [shown]
    return jnp.concatenate([*columns, jnp.eye(len(observations))], axis=1)


def what_is_shown(
    inputs: Inputs,
    critic: Any,
    values: Any,
    observations: Float[Array, "agents observation"],
    state: Any,
    samples: Any,
) -> Float[Array, "agents shown"] | None:
    """What each agent sees besides its own observation; None for the kind `agent`.

    Args:
        inputs: what the actor sees.
        critic: V, for the kind `safe`; without memory.
        values: Q, for the kinds that weigh actions.
        observations: each agent's own.
        state: the true one, for the kind `state`.
        samples: of the states that each agent infers, in the state's own units.
    """
    agents = len(observations)
    if inputs.kind == "agent":
        return None
    if inputs.kind == "observations":
        return jnp.broadcast_to(observations.astype(jnp.float32).reshape(1, -1), (agents, observations.size))
    if inputs.kind == "state":
        return jnp.broadcast_to(state[None], (agents, len(state)))
    if inputs.kind == "safe":
        return jax.vmap(lambda own: least_valued(critic, own))(samples)
    if inputs.kind in VALUING:
        own_values = jax.vmap(lambda own, agent: action_values(values, own, agent))(samples, jnp.eye(agents))
        return jax.vmap(lambda own: summarised(own, inputs.kind, inputs.level))(own_values)
    return samples[:, 0]


def least_valued(critic: SequenceNetwork, samples: Float[Array, "samples state"]) -> Float[Array, " state"]:
    """The state with the smallest value, arg min V(s) over the samples."""
    values = jax.vmap(lambda state: critic.step(critic.fresh_memory(), state)[1][0])(samples)
    return samples[jnp.argmin(values)]


def action_values(
    values: SequenceNetwork, samples: Float[Array, "samples state"], agent: Float[Array, " agents"]
) -> Float[Array, "samples actions"]:
    """Q(s, a) of one agent's actions in each state, in the critic's units.

    Args:
        values: its network.
        samples: states.
        agent: the agent's number, one-hot.
    """
    memory = values.fresh_memory()
    return jax.vmap(lambda state: values.step(memory, jnp.concatenate([state, agent]))[1])(samples)


def summarised(own_values: Float[Array, "samples actions"], kind: InputKind, level: float) -> Float[Array, " actions"]:
    """One number for each action, of its values in K equally likely states.

    mean        Σ_k Q(s_k, a) / K
    quantile    the `level`-quantile, linear between the values
    cvar        mean of the ⌈level · K⌉ smallest values
    """
    if kind == "mean":
        return jnp.mean(own_values, axis=0)
    if kind == "quantile":
        return jnp.quantile(own_values, level, axis=0)
    worst = math.ceil(level * len(own_values) - 1e-9)  # less what the product is rounded by
    return jnp.mean(jnp.sort(own_values, axis=0)[:worst], axis=0)
