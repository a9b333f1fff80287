"""SMAX: JaxMARL's StarCraft-like battles (extra `smax`), as worlds that a team does not see whole (§5, appendix B).

Allies are the agents; enemies act by the library's heuristic: go through the middle of the map, follow whom they see,
shoot the closest. `zerg_5_vs_5` and its like (race, allies, enemies) start as SMACv2 does: types are drawn among the
race's, evenly, and the enemies mirror the allies; positions are reflected, or one team surrounds the other. Zerg are
zerglings and hydralisks, terran marines and marauders, protoss stalkers and zealots: **banelings, medivacs and
colossi are missing from the library**; SMACv2 draws them with a chance of 0.1. The library's scenarios keep its names.

State, for each ally and then each enemy, in [0, 1] throughout (`state_names`):

    x, y       position / 32, the map's width and height
    health     share of the type's full health
    cooldown   until the weapon is ready, as a share of the longest that the type's can be; 0 where it is
    alive      1 or 0
    <type>     1 for the unit's type, where it is drawn among several

A dead unit is zero throughout, as in the library's own state vector. A unit that a collision has just pushed past a
wall stands on it here, where the library's next move puts it. Agents also see each other's last actions, which are no
part of the state.

An agent sees itself and, within its sight, every living unit: relative position over sight, health, last action,
cooldown and type. `sight` is the allies' alone: enemies keep the library's ranges (8 to 10, by type), so that how they
fight does not depend on it.

**Walls.** The library kills what touches a wall, and in about 10% of the drawn starts somebody stands on or beyond
one, nearly always to die at once. Here everybody starts at least `MARGIN` inside, which left none of 4,096 starts with
such a death. Who later walks into a wall dies as in the library (31% of the allies' deaths under random actions);
StarCraft's walls do not kill.

**Ends.** The state in which a team is dead is an episode's last. The library counts its limit late, after one step
more; here an episode has at most `num_steps` states, so that what the last action of the longest leads to is not told.

**Not collectively observable**: some living enemy is often unseen by all living allies. `unseen_share` says how often:
under random actions in 76% of the steps of `zerg_5_vs_5`, at sight 9, 6 and 4 in 74%, 85% and 96% (of 512 episodes).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError, MismatchError
from composite_flow.problems.base import Problem
from composite_flow.problems.smax_scenario import (
    Scenario,
    as_library_expects,
    environment,
    library_version,
    observed_columns,
    scenario,
)

MARGIN = 1.0
"""How far from the walls units start at least; the largest unit's radius is 0.625."""

UNIT_FEATURES = ("x", "y", "health", "cooldown", "alive")


class SMAX(Problem):
    """A team of units in a battle; a world is the library's own state.

    The action 4 stops, 0 to 3 move in the four directions of the map, 5 + k shoots at enemy k. The dead can only stop.

    Attributes:
        name: of the scenario: RACE_N_vs_M, or the library's.
        sight: how far allies see, in the map's units; the library's range of each unit type where None.
        num_steps: most steps of an episode.
        jaxmarl: version of the library.
    """

    name: str = eqx.field(static=True)
    sight: float | None = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    jaxmarl: str = eqx.field(static=True)
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)

    def __init__(self, name: str = "zerg_5_vs_5", *, sight: float | None = None, num_steps: int = 100):
        """Find the scenario.

        Args:
            name: RACE_N_vs_M with the race terran, zerg or protoss, or a scenario of the library.
            sight: how far allies see; the map is 32 by 32. The library's 8 to 10, by type, where None.
            num_steps: most steps of an episode, at least 1.

        Raises:
            InputError: no such scenario, an argument is out of its range, JAX runs in 64 bits, or JaxMARL is missing.
        """
        if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
            raise InputError("SMAX runs in 32 bits alone: switch jax_enable_x64 off.")
        chosen = scenario(name)
        if sight is not None and not (np.isfinite(sight) and sight > 0):
            raise InputError(f"The range of sight must be a number above 0, not {sight}.")
        if num_steps < 1:
            raise InputError(f"An episode needs at least one step, not {num_steps}.")
        self.name, self.num_steps, self.jaxmarl = name, int(num_steps), library_version()
        self.sight = None if sight is None else float(sight)
        self.num_agents, self.num_actions = chosen.num_allies, self._environment.num_ally_actions
        self.observation_size, self.state_size = len(observed_columns(name)), len(_state_names(chosen))

    @property
    def _environment(self) -> Any:
        """The library's environment; not a field, so that equal problems are equal and share compiled programs."""
        return environment(self.name, self.sight, self.num_steps)

    @property
    def state_names(self) -> tuple[str, ...]:
        return _state_names(scenario(self.name))

    @property
    def description(self) -> dict[str, Any]:
        return {
            "kind": "smax",
            "scenario": self.name,
            "sight": self.sight,
            "num_steps": self.num_steps,
            "jaxmarl": self.jaxmarl,
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "SMAX":
        """The inverse of `description`.

        Raises:
            MismatchError: another version of JaxMARL is installed, whose battles may differ.
        """
        problem = cls(description["scenario"], sight=description["sight"], num_steps=description["num_steps"])
        if description["jaxmarl"] != problem.jaxmarl:
            raise MismatchError(
                f"This SMAX problem is of JaxMARL {description['jaxmarl']}, but {problem.jaxmarl} is installed: "
                "install the former, or collect the episodes again."
            )
        return problem

    def reset(self, key: PRNGKeyArray) -> Any:
        """The library's start, with everybody at least `MARGIN` away from the walls."""
        with as_library_expects():
            _, world = self._environment.reset(key)
        inside = jnp.clip(world.state.unit_positions, MARGIN, self._map_size[None, :] - MARGIN)
        return world.replace(state=world.state.replace(unit_positions=inside))

    def step(self, key, world, actions):
        """The library's step, with its reward (damage done, and 1 for a victory) and without its reset.

        An episode is over when a team is dead, or after `num_steps`.
        """
        battle = self._environment
        with as_library_expects():
            _, moved, rewards, _, _ = battle.step_env(key, world, dict(zip(battle.agents, actions, strict=True)))
            over = battle.is_terminal(moved)
        return moved, rewards[battle.agents[0]], over

    def won(self, world: Any) -> Bool[Array, ""]:
        """Whether every enemy is dead; of an episode's last world, whether the team has won."""
        return ~jnp.any(world.state.unit_alive[self.num_agents :])

    def observe(self, key, world):
        """What the library shows each ally, in [−1, 1], without the columns of types that cannot occur."""
        with as_library_expects():
            seen = self._environment.get_obs(world)
        rows = jnp.stack([seen[agent] for agent in self._environment.agents])
        # Its own position leaves [0, 1] where a collision has pushed a unit past a wall.
        return jnp.clip(rows[:, observed_columns(self.name)], -1.0, 1.0)

    def available(self, world):
        """The library's masks: the dead can only stop, and only the living within range can be shot at."""
        with as_library_expects():
            masks = self._environment.get_avail_actions(world)
        return jnp.stack([masks[agent] for agent in self._environment.agents]).astype(bool)

    def state(self, world):
        """Every unit's features, in [0, 1]; see the module's head."""
        units, battle = world.state, self._environment
        kinds, alive = units.unit_types, units.unit_alive.astype(jnp.float32)
        position = jnp.clip(units.unit_positions / self._map_size[None, :], 0.0, 1.0)
        health = units.unit_health / battle.unit_type_health[kinds]
        # The library draws each pause up to two ticks longer than the type's own.
        longest = battle.unit_type_weapon_cooldowns[kinds] + 2.0 * battle.time_per_step
        cooldown = jnp.clip(units.unit_weapon_cooldowns / longest, 0.0, 1.0)
        columns = [position, jnp.stack([health, cooldown, alive], axis=1)]
        num_types = len(scenario(self.name).occurring_types)
        if num_types:
            columns.append(jax.nn.one_hot(kinds.astype(jnp.int32) % num_types, num_types, dtype=jnp.float32))
        return (jnp.concatenate(columns, axis=1) * alive[:, None]).ravel()

    @property
    def _map_size(self) -> Float[Array, " 2"]:
        """Width and height."""
        return jnp.array([self._environment.map_width, self._environment.map_height], jnp.float32)

    def sees(self, state: Float[Array, " state"]) -> Bool[Array, "allies enemies"]:
        """Which living ally has which living enemy within its sight.

        Read off the state's features, so that it can be had of recorded episodes too.

        Args:
            state: as `state` gives it.
        """
        return self.sees_units(state)[:, self.num_agents :]

    def sees_units(self, state: Float[Array, " state"]) -> Bool[Array, "allies units"]:
        """Which living ally has which living unit within its sight, itself and the other allies first.

        Args:
            state: as `state` gives it.
        """
        chosen = scenario(self.name)
        units = state.reshape(chosen.num_allies + chosen.num_enemies, -1)
        allies = units[: chosen.num_allies]
        apart = (allies[:, None, :2] - units[None, :, :2]) * self._map_size[None, None, :]
        near = jnp.linalg.norm(apart, axis=2) < self.sight_ranges(state)[:, None]
        alive = UNIT_FEATURES.index("alive")
        return near & (allies[:, alive] > 0)[:, None] & (units[:, alive] > 0)[None, :]

    def sight_ranges(self, state: Float[Array, " state"]) -> Float[Array, " allies"]:
        """How far each living ally sees, in the map's units, of which it is 32 wide and high.

        Args:
            state: as `state` gives it.
        """
        allies = state.reshape(scenario(self.name).num_allies + scenario(self.name).num_enemies, -1)[: self.num_agents]
        return self._environment.unit_type_sight_ranges[self._kinds(allies)]

    def _kinds(self, allies: Float[Array, "allies features"]) -> Int[Array, " allies"]:
        """Each living ally's place in the scenario's list of types."""
        places = scenario(self.name).places
        if places is not None:
            return jnp.array(places[: self.num_agents], jnp.int32)
        return jnp.argmax(allies[:, len(UNIT_FEATURES) :], axis=1).astype(jnp.int32)

    def has_unseen_enemy(self, state: Float[Array, " state"]) -> Bool[Array, ""]:
        """Whether some living enemy is seen by no living ally: then the team cannot know this state."""
        enemies = state.reshape(scenario(self.name).num_allies + scenario(self.name).num_enemies, -1)[self.num_agents :]
        living = enemies[:, UNIT_FEATURES.index("alive")] > 0
        return jnp.any(living & ~jnp.any(self.sees(state), axis=0))


@eqx.filter_jit
def unseen_share(problem: SMAX, states: Float[Array | np.ndarray, "steps state"]) -> Float[Array, ""]:
    """The share of steps in which some living enemy is seen by no living ally.

        mean over steps of  max over living enemies e of  min over living allies a of  1[|x_a − x_e| ≥ sight of a]

    0 where the team together always sees all enemies. A dead team sees nothing, so that the last step of a defeat
    counts. Over a batch of random episodes it is
    `unseen_share(problem, collect(problem, 256, key=key).states)`, over worlds
    `unseen_share(problem, jax.vmap(problem.state)(worlds))`, over any recorded episodes what their `states` give.

    Args:
        problem: whose sight counts, which may differ from that with which the states were collected.
        states: in the problem's own units, as `Episodes.states` holds them.
    """
    unseen = jax.lax.map(problem.has_unseen_enemy, jnp.asarray(states), batch_size=4096)
    return jnp.mean(unseen.astype(jnp.float32))


def _state_names(chosen: Scenario) -> tuple[str, ...]:
    """`ally_0_x`, and so on."""
    units = [f"ally_{ally}" for ally in range(chosen.num_allies)]
    units += [f"enemy_{enemy}" for enemy in range(chosen.num_enemies)]
    return tuple(f"{unit}_{feature}" for unit in units for feature in (*UNIT_FEATURES, *chosen.occurring_types))
