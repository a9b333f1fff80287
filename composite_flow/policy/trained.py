"""A trained policy: it acts by the contract of policies, and is one file in the folder of its run."""

import hashlib
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.errors import FileError, MismatchError
from composite_flow.policy.choices import choose, choose_best
from composite_flow.policy.mappo_config import MappoConfig
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.sight import actor_inputs
from composite_flow.problems.base import Policy
from composite_flow.problems.host import AnyProblem

POLICY_FILE = "policy.safetensors"
SETTINGS_FILE = "policy_run.json"


class TrainedPolicy(Policy):
    """Every agent acts on what it sees and remembers, by the one network that all agents share.

    Attributes:
        actor: the network.
        num_agents, num_actions, observation_size: of the problems that it can act in.
        greedy: take the likeliest action instead of drawing one.
        steps: of the environment that it was trained for.
    """

    actor: SequenceNetwork
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    greedy: bool = eqx.field(static=True, default=False)
    steps: int = eqx.field(static=True, default=0)

    @property
    def description(self) -> dict[str, Any]:
        """A digest of the weights, and what else tells this policy from others."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(eqx.filter(self.actor, eqx.is_array)):
            digest.update(np.asarray(leaf).tobytes())
        return {"kind": "mappo", "weights": digest.hexdigest()[:16], "steps": self.steps, "greedy": self.greedy}

    def start(self, num_agents: int) -> Float[Array, "agents memory"]:
        """Each agent's memory before an episode."""
        return jnp.zeros((num_agents, self.actor.memory_size))

    def act(self, key, memory, observations, available):
        """Draw every agent's action, or take its likeliest."""
        memory, logits = jax.vmap(self.actor.step)(memory, actor_inputs(observations))
        if self.greedy:
            return memory, jax.vmap(choose_best)(logits, available)
        return memory, jax.vmap(choose)(jax.random.split(key, len(observations)), logits, available)

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


def save_policy(
    folder: str | os.PathLike,
    policy: TrainedPolicy,
    config: MappoConfig,
    description: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a policy into a folder.

    Args:
        folder: of its run.
        policy: what is written; whether it is greedy is left to who loads it.
        config: its settings.
        description: what else to keep, such as the problem; JSON-able.
        overwrite: a policy there may be replaced.

    Raises:
        FileError: the file is in the way or cannot be written.
    """
    sizes = {name: getattr(policy, name) for name in ("num_agents", "num_actions", "observation_size")}
    network = {
        "inputs": policy.observation_size + policy.num_agents,
        "outputs": policy.num_actions,
        "width": config.width,
        "depth": config.depth,
        "memory": config.memory,
    }
    stored = {"kind": "policy", "sizes": sizes, "network": network, **description}
    save_checkpoint(Path(folder) / POLICY_FILE, policy.actor, stored, overwrite)


def load_policy(folder: str | os.PathLike, *, greedy: bool = False) -> TrainedPolicy:
    """Read the policy that a run wrote.

    Args:
        folder: of the run.
        greedy: take the likeliest action instead of drawing one.

    Raises:
        FileError: there is none yet, or the file is damaged or foreign.
    """
    path = Path(folder) / POLICY_FILE
    if not path.exists() and (path.parent / SETTINGS_FILE).exists():
        raise FileError(f"{folder} holds a training that has not finished; run train-policy again with --resume.")
    stored = load_description(path)
    if stored.get("kind") != "policy":
        raise FileError(f"{path} is not a policy.")
    empty = eqx.filter_eval_shape(
        lambda key: SequenceNetwork(**stored["network"], gain=1.0, key=key), jax.random.key(0)
    )
    steps = int(stored.get("steps", 0))
    return TrainedPolicy(load_checkpoint(path, empty), **stored["sizes"], greedy=greedy, steps=steps)
