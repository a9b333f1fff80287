"""What agents earn who act on exact filters of what reaches them: sensors of which two look at each area.

Each agent keeps the exact belief given its own observations and those of others that reached it, plans for the whole
team as if all knew what it knows, and does its own part. A plan is a matching: the sensors of a pair scan the area
between them, which earns the chance of a target there and costs two scans; the best plan is the one of greatest sum.
Where nothing is lost all plans are the same one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.problems.sensor import SensorNetwork


def matchings(coverage: Bool[np.ndarray, "agents areas"]) -> Bool[np.ndarray, "matchings areas"]:
    """All sets of areas of which no two have a sensor in common."""
    found = [np.zeros(coverage.shape[1], bool)]
    for area, sensors in enumerate(coverage.T):
        assert sensors.sum() == 2, "an area is scanned by a pair"
        free = [one for one in found if not (coverage[:, one].any(axis=1) & sensors).any()]
        found += [np.where(np.arange(len(one)) == area, True, one) for one in free]
    return np.stack(found)


def actions_of_plans(problem: SensorNetwork, plans: Bool[np.ndarray, "plans areas"]) -> Int[np.ndarray, "plans agents"]:
    """What each agent does in each plan: 0, or the place among its own areas of the one that it scans, from 1."""
    slots = np.asarray(problem.slots)
    scanned = np.pad(plans, ((0, 0), (0, 1)))[:, slots]  # plans, agents, slots; unused slots hold no area
    return np.where(scanned.any(axis=2), 1 + scanned.argmax(axis=2), 0)


@eqx.filter_jit
def exact_returns(
    problem: SensorNetwork,
    plans: Bool[Array, "plans areas"],
    actions: Int[Array, "plans agents"],
    lost: float,
    keys: PRNGKeyArray,
) -> Float[Array, " episodes"]:
    """The return of new episodes, one for each key.

    Args:
        problem: whose motion does not depend on actions.
        plans, actions: from `matchings` and `actions_of_plans`.
        lost: chance that an observation does not reach another agent, for each of these by itself.
        keys: of the episodes.
    """
    moves = problem.motion_probabilities()
    agents, features = jnp.arange(problem.num_agents), problem.states()

    def step(carry, key):
        world, predicted = carry
        key_see, key_lost, key_move = jax.random.split(key, 3)
        told = jax.vmap(problem.log_likelihood)(agents, problem.observe(key_see, world))
        arrives = jax.random.uniform(key_lost, (len(agents), len(agents))) >= lost
        arrives |= jnp.eye(len(agents), dtype=bool)
        log_belief = jnp.log(predicted) + jnp.where(arrives[..., None], told[None], 0.0).sum(axis=1)
        belief = jax.nn.softmax(log_belief, axis=1)
        gains = problem.reward * (belief @ features) - 2 * problem.scan_cost
        chosen = jnp.argmax(gains @ plans.T.astype(jnp.float32), axis=1)
        world, reward, _ = problem.step(key_move, world, actions[chosen, agents])
        return (world, belief @ moves), reward

    def episode(key):
        key_start, key_steps = jax.random.split(key)
        start = jnp.broadcast_to(problem.initial_probabilities(), (len(agents), problem.num_states))
        steps = jax.random.split(key_steps, problem.num_steps)
        return jax.lax.scan(step, (problem.reset(key_start), start), steps)[1].sum()

    return jax.lax.map(episode, keys, batch_size=64)


def exact_acting(problem: SensorNetwork, lost: float, key: PRNGKeyArray, num_episodes: int) -> Float[np.ndarray, " n"]:
    """Returns of so many new episodes."""
    plans = matchings(np.asarray(problem.coverage))
    actions = jnp.asarray(actions_of_plans(problem, plans), jnp.int32)
    return np.asarray(exact_returns(problem, jnp.asarray(plans), actions, lost, jax.random.split(key, num_episodes)))
