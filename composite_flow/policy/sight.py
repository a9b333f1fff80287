"""What the actor sees. The rest of MAPPO takes these inputs as they are; the critic always sees the state."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.problems.base import Problem


def actor_inputs(observations: Float[Array, "agents observation"]) -> Float[Array, "agents inputs"]:
    """Each agent's own observation, then its number one-hot, as one network serves all agents."""
    return jnp.concatenate([observations.astype(jnp.float32), jnp.eye(len(observations))], axis=1)


def actor_input_size(problem: Problem) -> int:
    """Columns of `actor_inputs`."""
    return problem.observation_size + problem.num_agents
