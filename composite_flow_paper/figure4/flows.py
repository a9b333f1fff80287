"""The flows of Figure 4: where random teams end, and the trajectories that the picture shows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from composite_flow.belief import exact_belief
from composite_flow.composite.reconstruct import composite_flow, reconstruct_batch
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.metrics import exact_states
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.shared.cells import rounded
from composite_flow_paper.shared.sensor_runs import SensorData
from composite_flow_paper.shared.teams import draw_teams, team_states, which_state


def compute_partial(
    data: SensorData,
    denoiser: Denoiser,
    steps: Int[Array, " steps"],
    size: int,
    *,
    num_sweeps: int,
    num_samples: int,
    stir: float,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Where flows of random teams of one size end: in a state that all members allow, and in the true one where
    that is the only such state."""
    joint = data.test.joint(steps)
    key_teams, key_flows = jax.random.split(key)
    teams = draw_teams(key_teams, len(steps), data.problem.num_agents, size)
    members = jnp.take_along_axis(joint.histories, teams[:, :, None], axis=1)
    options = {"num_samples": num_samples, "num_sweeps": num_sweeps, "stir": stir}
    ends = reconstruct_batch(denoiser, members, key=key_flows, batch_size=32, **options).samples
    belief = exact_belief(data.problem, joint.structured)
    allowed = team_states(belief.consistent, teams)
    reached = which_state(ends, belief.states)
    inside = jnp.take_along_axis(allowed, jnp.maximum(reached, 0), axis=1) & (reached >= 0)
    identified = allowed.sum(axis=1) == 1
    true = exact_states(ends, joint.states[:, None])
    return {
        "participants": size,
        "sweeps": num_sweeps,
        "samples": inside.size,
        "inside": int(inside.sum()),
        "identified_samples": int(identified.sum()) * num_samples,
        "identified_exact": int((true & identified[:, None]).sum()),
        "exact": int(true.sum()),
        "mean_states_allowed": float(allowed.sum(axis=1).mean()),
    }


def draw_flows(
    data: SensorData,
    denoiser: Denoiser,
    steps: Int[Array, " steps"],
    *,
    num_drawn: int,
    num_hops: int,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Trajectories for the picture: one joint history, a team that identifies its state in three orders, and three
    teams that do not."""
    key_team, key_noise = jax.random.split(key)
    joint = data.test.joint(steps[:64])
    belief = exact_belief(data.problem, joint.structured)
    index, telling, others = choose_teams(data.problem, np.asarray(joint.states), num_hops, key_team)
    contexts = jax.vmap(denoiser.condition)(joint.histories[index])
    noise = jax.random.normal(key_noise, (num_drawn, denoiser.state_size))
    orders = [jax.random.permutation(jax.random.fold_in(key_team, k), telling) for k in range(3)]
    areas = np.flatnonzero(np.asarray(joint.states[index]) > 0.5)[:2]

    def panel(order):
        trajectory = jax.vmap(composite_flow, in_axes=(None, None, None, 0))(denoiser, contexts, order, noise)
        allowed = jnp.all(belief.consistent[index][order], axis=0)
        return {
            "order": order,
            "trajectory": rounded(trajectory[:, :, areas]),
            "allowed": belief.states[allowed][:, areas],
            "exact": float(exact_states(trajectory[:, -1], joint.states[index]).mean()),
        }

    return {
        "areas": areas,
        "state": joint.states[index],
        "composite": [panel(order) for order in orders],
        "partial": [panel(team) for team in others],
    }


def choose_teams(
    problem: SensorNetwork, states: np.ndarray, size: int, key: PRNGKeyArray
) -> tuple[int, Int[Array, " team"], list[Int[Array, " team"]]]:
    """A joint history and teams of one size: one whose members see both targets and so identify the state, one that
    sees the first target alone, one that sees the second alone, and one that sees none."""
    for index, state in enumerate(states):
        first, second = (np.flatnonzero(problem.coverage[:, area]) for area in np.flatnonzero(state > 0.5)[:2])
        blind = np.setdiff1d(np.arange(problem.num_agents), np.concatenate([first, second]))
        if len(blind) < size or np.intersect1d(first, second).size:
            continue
        blind = np.asarray(jax.random.permutation(key, jnp.asarray(blind)))
        seers = [first[0], second[0]]
        teams = [np.append(blind[: size - 1], seer) for seer in seers]
        return (
            index,
            jnp.append(blind[: size - 2], jnp.asarray(seers)),
            [jnp.asarray(t) for t in (*teams, blind[:size])],
        )
    raise InputError(f"No state here has two targets that {size} agents do not see; take a larger network.")
