"""Networks of sensors that follow moving targets (§3.1, §4.1, appendix B).

Sensors stand on a graph, areas lie between them; a boolean matrix says who covers what. A state says which
areas hold a target. In each step one target, drawn at random, tries to move with `move_probability` to a
neighbouring area (one that some sensor covers together with its own), drawn uniformly; it stays where that
area is taken. This chain is reversible, with the stationary distribution

    p(A) ∝ Π_{a ∈ A} max(1, number of neighbours of a)        over sets A of `num_targets` areas,

from which episodes start. The paper leaves motion, rewards and the length of episodes open: these are ours.
All tables grow with the number of (agent, nearby area) pairs, so a thousand sensors are no trouble.
"""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError, TooLargeError
from composite_flow.problems.base import EnumerableProblem
from composite_flow.problems.coverage import (
    check_coverage,
    check_listing,
    check_miss,
    check_numbers,
    coverage_of,
    neighbour_table,
    padded_rows,
)
from composite_flow.problems.subsets import draw_subset, list_subsets, log_tail_weights, subset_index

TRANSITION_LIMIT = 4_000


class SensorWorld(eqx.Module):
    """Where the targets are, and how many steps have been taken."""

    targets: Int[Array, " targets"]
    time: Int[Array, ""]


class SensorNetwork(EnumerableProblem):
    """Sensors that each see their nearby areas.

    Agent i observes 1 or 0 for each of its nearby areas, in the order of the areas (`slots[i]`), and 0 in slots
    it does not use. Action 0 scans nothing, action k its k-th nearby area.

    Attributes:
        coverage: which agent covers which area.
        miss: probability that a sensor overlooks a target in an area, independent per sensor; 0 is deterministic.
        slots: each agent's nearby areas; unused slots hold the number of areas.
        neighbours: each area's neighbours; unused places hold the area itself.
        degree: number of each area's neighbours.
        log_weights, log_tails: the stationary distribution, for drawing from it.
        num_targets: number of targets, at most one in an area.
        move_probability: chance per step that some target tries to move.
        reward: earned per target in an area that two or more sensors scan at once.
        scan_cost: paid per scan.
        num_steps: length of an episode.
    """

    coverage: Bool[Array, "agents areas"]
    miss: Float[Array, " areas"]
    slots: Int[Array, "agents slots"]
    neighbours: Int[Array, "areas places"]
    degree: Int[Array, " areas"]
    log_weights: Float[Array, " areas"]
    log_tails: Float[Array, "targets_plus_1 areas_plus_1"]
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)
    num_targets: int = eqx.field(static=True)
    move_probability: float = eqx.field(static=True)
    reward: float = eqx.field(static=True)
    scan_cost: float = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)

    def __init__(
        self,
        coverage: ArrayLike | Sequence,
        num_targets: int = 1,
        *,
        miss: ArrayLike | Sequence = 0.0,
        move_probability: float = 0.5,
        reward: float = 1.0,
        scan_cost: float = 0.1,
        num_steps: int = 16,
    ):
        """Build the network's tables from its coverage.

        Args:
            coverage: booleans, (agents, areas).
            num_targets: between 1 and the number of areas.
            miss: one probability, or one per area.
            move_probability: in [0, 1].
            reward: per target that is tracked.
            scan_cost: per scan.
            num_steps: length of an episode, at least 1.

        Raises:
            InputError: an argument is out of its range.
        """
        table = check_coverage(coverage)
        num_areas = table.shape[1]
        check_numbers(num_areas, num_targets, move_probability, num_steps)
        neighbours, degree = neighbour_table(table)
        log_weights = np.log(np.maximum(degree, 1).astype(np.float64))
        self.coverage = jnp.asarray(table)
        self.miss = jnp.asarray(check_miss(miss, num_areas))
        self.slots = jnp.asarray(padded_rows(table, fill=np.full(len(table), num_areas)))
        self.neighbours, self.degree = jnp.asarray(neighbours), jnp.asarray(degree)
        self.log_weights = jnp.asarray(log_weights, jnp.float32)
        self.log_tails = jnp.asarray(log_tail_weights(log_weights, num_targets), jnp.float32)
        self.num_agents, self.state_size = table.shape
        self.observation_size, self.num_actions = self.slots.shape[1], 1 + self.slots.shape[1]
        self.num_targets, self.num_steps = int(num_targets), int(num_steps)
        self.move_probability = float(move_probability)
        self.reward, self.scan_cost = float(reward), float(scan_cost)

    @classmethod
    def grid(cls, rows: int, columns: int, num_targets: int = 1, **options: Any) -> "SensorNetwork":
        """Sensors on a grid, an area on each of its edges.

        Sensors are numbered row by row; areas in the order of their first sensor, the edge to the right before
        the edge downwards. A 5 by 5 grid has 40 areas; inner sensors see four, border sensors fewer.
        """
        if rows < 1 or columns < 1 or rows * columns < 2:
            raise InputError(f"A grid needs at least two sensors, not {rows} by {columns}.")
        edges = []
        for sensor in range(rows * columns):
            if (sensor + 1) % columns:
                edges.append((sensor, sensor + 1))
            if sensor + columns < rows * columns:
                edges.append((sensor, sensor + columns))
        return cls(coverage_of(rows * columns, edges), num_targets, **options)

    @classmethod
    def two_by_two(cls, miss: ArrayLike | Sequence | None = None, **options: Any) -> "SensorNetwork":
        """The paper's 2×2 network (§3.1, Figure 1), with its numbers of agents and areas.

        Area 1 lies between agents 1 and 2, area 2 between 1 and 3, area 3 between 3 and 4, area 4 between 2
        and 4. The paper's non-collectively observable case is `miss = (0.5, 0.5, 0, 0)`.
        """
        coverage = coverage_of(4, [(0, 1), (0, 2), (2, 3), (1, 3)])
        return cls(coverage, miss=0.0 if miss is None else miss, **options)

    @property
    def num_areas(self) -> int:
        """Number of areas."""
        return self.coverage.shape[1]

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(f"area {area + 1}" for area in range(self.num_areas))

    @property
    def description(self) -> dict[str, Any]:
        coverage = np.asarray(self.coverage)
        return {
            "kind": "sensor",
            "num_agents": self.num_agents,
            "areas": [np.flatnonzero(column).tolist() for column in coverage.T],
            "num_targets": self.num_targets,
            "miss": np.asarray(self.miss).tolist(),
            "move_probability": self.move_probability,
            "reward": self.reward,
            "scan_cost": self.scan_cost,
            "num_steps": self.num_steps,
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "SensorNetwork":
        """The inverse of `description`."""
        options = {name: value for name, value in description.items() if name not in ("kind", "num_agents", "areas")}
        miss = np.asarray(options.pop("miss"), np.float32)
        return cls(coverage_of(description["num_agents"], description["areas"]), miss=miss, **options)

    @property
    def is_collectively_observable(self) -> bool:
        """Whether every possible joint observation leaves one state only (§2).

        The number of targets is known, so one area in which a target may go unseen (overlooked, or covered by
        nobody) is found by counting; with two of them a target may be in either.
        """
        hidden = np.asarray((self.miss > 0) | ~jnp.any(self.coverage, axis=0))
        return bool(hidden.sum() <= 1 or self.num_targets == self.num_areas)

    def reset(self, key: PRNGKeyArray) -> SensorWorld:
        """Draw the targets' areas from the stationary distribution, exactly."""
        return SensorWorld(draw_subset(key, self.log_weights, self.log_tails), jnp.int32(0))

    def step(self, key, world, actions):
        """Reward the scans, then move a target."""
        moved = SensorWorld(self._move(key, world.targets), world.time + 1)
        return moved, self._earn(world, actions), moved.time >= self.num_steps

    def _move(self, key: PRNGKeyArray, targets: Int[Array, " targets"]) -> Int[Array, " targets"]:
        """One target tries to move to a neighbouring area."""
        key_target, key_move, key_neighbour = jax.random.split(key, 3)
        target = jax.random.randint(key_target, (), 0, self.num_targets)
        area = targets[target]
        place = jax.random.randint(key_neighbour, (), 0, jnp.maximum(self.degree[area], 1))
        goal = self.neighbours[area, place]
        moves = jax.random.bernoulli(key_move, self.move_probability) & ~jnp.any(targets == goal)
        return targets.at[target].set(jnp.where(moves, goal, area))

    def _earn(self, world: SensorWorld, actions: Int[Array, " agents"]) -> Float[Array, ""]:
        """Reward of the tracked targets minus the cost of the scans; an unused slot scans nothing."""
        agents = jnp.arange(self.num_agents)
        scanned = jnp.where(actions > 0, self.slots[agents, jnp.maximum(actions - 1, 0)], self.num_areas)
        scans = jnp.zeros(self.num_areas + 1, jnp.int32).at[scanned].add(1)
        tracked = jnp.sum(scans[world.targets] >= 2, dtype=jnp.float32)
        return self.reward * tracked - self.scan_cost * jnp.sum(scans[:-1], dtype=jnp.float32)

    def observe(self, key, world):
        """Each agent's nearby areas: 1 where it sees a target."""
        present = jnp.append(self.state(world), 0.0)[self.slots]
        seen = jax.random.uniform(key, self.slots.shape) >= jnp.append(self.miss, 0.0)[self.slots]
        return present * seen.astype(jnp.float32)

    def state(self, world):
        """1 for each area that holds a target."""
        return jnp.zeros(self.num_areas).at[world.targets].set(1.0)

    def available(self, world):
        """Scanning nothing, or any nearby area."""
        return jnp.pad(self.slots < self.num_areas, ((0, 0), (1, 0)), constant_values=True)

    @property
    def num_states(self) -> int:
        return math.comb(self.num_areas, self.num_targets)

    def _subsets(self) -> Int[Array, "states targets"]:
        """The areas of each state's targets."""
        check_listing(self.num_states)
        return jnp.asarray(list_subsets(self.num_areas, self.num_targets))

    def states(self):
        """Every set of areas, in lexicographic order."""
        check_listing(self.num_states)
        subsets = list_subsets(self.num_areas, self.num_targets)
        # On the host, since a compiler would fold this scatter of constants, slowly.
        occupied = np.zeros((len(subsets), self.num_areas), np.float32)
        occupied[np.arange(len(subsets))[:, None], subsets] = 1.0
        return jnp.asarray(occupied)

    def initial_probabilities(self):
        """The stationary distribution."""
        return jax.nn.softmax(jnp.sum(self.log_weights[self._subsets()], axis=1))

    def motion_probabilities(self) -> Float[Array, "states next_states"]:
        """P(s' | s), which no action changes.

        Raises:
            TooLargeError: a matrix over this many states does not fit.
        """
        if self.num_states > TRANSITION_LIMIT:
            raise TooLargeError(
                f"Transitions between {self.num_states} states are too many for a matrix (at most {TRANSITION_LIMIT} "
                "states): use histories of length 1, or fewer areas or targets."
            )
        subsets = self._subsets()
        own = jnp.arange(len(subsets))
        goals = self.neighbours[subsets]
        taken = jnp.any(goals[..., None] == subsets[:, None, None, :], axis=-1)
        replaced = jnp.eye(self.num_targets, dtype=bool)[None, :, None, :]
        moved = jnp.where(replaced, goals[..., None], subsets[:, None, None, :])
        index = jnp.where(taken, own[:, None, None], subset_index(jnp.sort(moved, axis=-1), self.num_areas))
        # An area without neighbours keeps one place, itself, so that the chances of every row add up to one.
        places = jnp.maximum(self.degree, 1)[subsets][..., None]
        used = jnp.arange(self.neighbours.shape[1])[None, None, :] < places
        chances = jnp.where(used, self.move_probability / self.num_targets / places.astype(jnp.float32), 0.0)
        stay = (1.0 - self.move_probability) * jnp.eye(len(subsets))
        return stay.at[own[:, None, None], index].add(chances)

    def transition_probabilities(self, actions):
        """P(s' | s): targets do not mind being scanned, here and below."""
        return self.motion_probabilities()

    def local_transition_probabilities(self, agent, observation, action, policy):
        return self.motion_probabilities()

    def team_transition_probabilities(self, policy):
        return self.motion_probabilities()

    def log_likelihood(self, agent, observation):
        """log P(o_i | s) = Σ over slots: 1 − miss or miss where there is a target, certainty elsewhere."""
        slots = self.slots[agent]
        present = jnp.any(self._subsets()[:, None, :] == slots[None, :, None], axis=2)
        sees = present.astype(jnp.float32) * (1.0 - jnp.append(self.miss, 0.0)[slots])[None, :]
        seen, unseen = (observation == 1.0)[None, :], (observation == 0.0)[None, :]
        return jnp.sum(jnp.log(jnp.where(seen, sees, jnp.where(unseen, 1.0 - sees, 0.0))), axis=1)
