"""SMACv2: StarCraft II itself, by the package's own Python interface (§5, appendix B). It gives data by `collect`.

**Not yet run against the game**, which does not run everywhere. It was written by the source of SMACv2 1.0.0 (commit
577ab5a), and names, sizes and arguments were held against the wrapper built from that source, without the game.

`zerg_5_vs_5` and its like are the package's own scenarios with its own settings: three unit types of a race, one of
them with a chance of 0.1 (baneling, medivac, colossus), allies surrounded or reflected, the game's own enemy at
difficulty 7, each type's own range of sight (8 to 11), at most 200 steps.

The state is the package's, by its own names: health, cooldown (a medivac's energy), position relative to the middle,
protoss' shield, type; for enemies without cooldown; then every ally's last action. Zeros where a unit is dead.
Positions lie in [−0.5, 0.5], so that the data are scaled by their min–max.

What the source tells and its users should know:

- Teams and positions are drawn from generators that cannot be seeded, so that a key fixes the policy's draws alone:
  the same call gives other episodes.
- `get_obs` keeps which enemies have been seen. An enemy that no ally has seen yet, or that died out of everybody's
  sight, blanks the enemies numbered below it in every observation, however near they are; and a second call in one step
  can show more than the first. Here it is called once a step; the package's own `reset` has called it once before.
- Where the connection to the game breaks, `step` reports an end without saying who won. Such an episode is played anew.
- A reset before the first episode's end would start a second game, so that a cut one is first played to its end.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any, Protocol, runtime_checkable

import numpy as np

from composite_flow.errors import InputError
from composite_flow.problems.host import HostProblem, WorldLost

RACES: dict[str, tuple[tuple[str, str, str], tuple[str, ...]]] = {
    "protoss": (("stalker", "zealot", "colossus"), ()),
    "terran": (("marine", "marauder", "medivac"), ("medivac",)),
    "zerg": (("zergling", "hydralisk", "baneling"), ("baneling",)),
}
"""Each race's unit types, and those of which a team cannot consist alone."""
WEIGHTS = (0.45, 0.45, 0.1)
"""Chances of the three types."""
SIZES = ((5, 5), (10, 10), (20, 20), (10, 11), (20, 23))
"""Numbers of allies and enemies."""
SCENARIOS = {f"{race}_{allies}_vs_{enemies}": (race, allies, enemies) for race in RACES for allies, enemies in SIZES}
"""The package's scenarios."""

INSTALLATION = (
    "install SMACv2 with 'pip install git+https://github.com/oxwhirl/smacv2.git' (it needs protobuf < 3.21), "
    "StarCraft II as https://github.com/oxwhirl/smacv2#getting-started says, with SC2PATH pointing to it, and the map "
    "32x32_flat from the package's release 'maps' in its folder Maps/SMAC_Maps"
)


@runtime_checkable
class StarCraftWrapper(Protocol):
    """What is used of the package's `StarCraftCapabilityEnvWrapper`."""

    def get_env_info(self) -> dict[str, Any]:
        """Sizes: n_agents, n_actions, obs_shape, state_shape, episode_limit."""
        ...

    def get_state_feature_names(self) -> list[str]:
        """A name for each feature of the state."""
        ...

    def reset(self) -> Any:
        """Draw teams and positions; the first one starts the game. What it returns is None after a retry."""
        ...

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        """Reward, whether the episode is over, and who won; nothing in the last where the connection broke."""
        ...

    def get_obs(self) -> list[np.ndarray]:
        """What each agent sees."""
        ...

    def get_state(self) -> np.ndarray:
        """The global state."""
        ...

    def get_avail_actions(self) -> list[list[int]]:
        """Zeros and ones for each agent."""
        ...

    def close(self) -> None:
        """Stop the game."""
        ...


class SMACv2(HostProblem):
    """A battle of StarCraft II.

    The action 0 is the dead's only one; 1 stops, 2 to 5 move in the four directions, 6 + k attacks enemy k, and heals
    ally k for a medivac.
    """

    def __init__(self, name: str = "zerg_5_vs_5", *, num_steps: int | None = None):
        """Find the scenario; the game starts with the first `reset`.

        Args:
            name: of the scenario, RACE_N_vs_M.
            num_steps: most steps of an episode; the package's own limit, 200, where None.

        Raises:
            InputError: no such scenario, or the package or the game is missing.
        """
        if name not in SCENARIOS:
            raise InputError(f"There is no SMACv2 scenario '{name}': there are {', '.join(SCENARIOS)}.")
        if num_steps is not None and num_steps < 1:
            raise InputError(f"An episode needs at least one step, not {num_steps}.")
        self.name = name
        self._wrapper, build = _build(name)
        info = self._wrapper.get_env_info()
        self.num_agents, self.num_actions = int(info["n_agents"]), int(info["n_actions"])
        self.observation_size, self.state_size = int(info["obs_shape"]), int(info["state_shape"])
        self.num_steps = int(info["episode_limit"]) if num_steps is None else num_steps
        self._names = tuple(self._wrapper.get_state_feature_names())
        self._versions = {"smacv2": _package_version(), "pysc2": version("pysc2"), "starcraft_build": build}
        self._has_started, self._is_over, self._has_ended_once = False, True, False

    @property
    def state_names(self) -> tuple[str, ...]:
        return self._names

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "smacv2", "scenario": self.name, "num_steps": self.num_steps, **self._versions}

    def reset(self, key):
        """Start a battle; nothing of it depends on the key."""
        while not self._is_over:  # a cut episode
            self._advance(self.available().argmax(axis=1).tolist())
        with nullcontext() if self._has_started else _launching():
            self._wrapper.reset()
        self._is_over, self._has_started = False, True

    def step(self, key, actions):
        """The package's step and reward."""
        reward, is_lost = self._advance(actions.tolist())
        if is_lost:
            raise WorldLost("the connection to StarCraft II broke")
        return reward, self._is_over

    def _advance(self, actions: list[int]) -> tuple[float, bool]:
        """A step of the package: the reward, and whether the connection broke."""
        reward, is_over, info = self._wrapper.step(actions)
        is_lost = bool(is_over) and "battle_won" not in info
        if is_lost and not self._has_ended_once:
            self._wrapper.close()  # or the next reset would start a second game beside this one
        self._is_over, self._has_ended_once = bool(is_over), self._has_ended_once or (bool(is_over) and not is_lost)
        return float(reward), is_lost

    def observe(self, key):
        """What the package shows each agent; zeros for the dead."""
        return np.stack(self._wrapper.get_obs()).astype(np.float32)

    def state(self):
        """The package's global state."""
        return self._wrapper.get_state().astype(np.float32)

    def available(self):
        """The package's masks."""
        return np.asarray(self._wrapper.get_avail_actions()) == 1

    def close(self):
        """Stop the game."""
        self._wrapper.close()


def wrapper_arguments(name: str) -> dict[str, Any]:
    """Arguments of the package's wrapper for one of its scenarios, where they differ from its defaults.

    Args:
        name: one of `SCENARIOS`.
    """
    race, allies, enemies = SCENARIOS[name]
    types, exceptions = RACES[race]
    return {
        "map_name": f"10gen_{race}",
        "obs_own_pos": True,
        "use_unit_ranges": True,
        "capability_config": {
            "n_units": allies,
            "n_enemies": enemies,
            "team_gen": {
                "dist_type": "weighted_teams",
                "unit_types": list(types),
                "weights": list(WEIGHTS),
                "exception_unit_types": list(exceptions),
                "observe": True,
            },
            "start_positions": {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32},
        },
    }


def _build(name: str) -> tuple[StarCraftWrapper, int]:
    """The package's wrapper, which does not start the game yet, and the build of the game that it will start."""
    try:
        from pysc2 import run_configs  # pyright: ignore[reportMissingImports]
        from smacv2.env.starcraft2.wrapper import (  # pyright: ignore[reportMissingImports]
            StarCraftCapabilityEnvWrapper,
        )
    except ImportError as error:
        raise InputError(f"smacv2:{name} needs SMACv2 and StarCraft II ({error}): {INSTALLATION}.") from error
    with _launching():
        build = int(run_configs.get().version.build_version)
    # The package writes into the settings that it is given.
    return StarCraftCapabilityEnvWrapper(**copy.deepcopy(wrapper_arguments(name))), build


@contextmanager
def _launching() -> Iterator[None]:
    """Turns what can go wrong with the game's files into a sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError | ValueError) or type(error).__name__ in ("SC2LaunchError", "NoMapError"):
            raise InputError(f"StarCraft II cannot be started ({error}): {INSTALLATION}.") from error
        raise


def _package_version() -> str:
    """The package's version, and the commit where it was installed from one: its number has never changed."""
    try:
        package = distribution("SMACv2")
    except PackageNotFoundError:
        return "unknown"
    source = json.loads(package.read_text("direct_url.json") or "{}")
    commit = source.get("vcs_info", {}).get("commit_id", "")[:7]
    return f"{package.version}+{commit}" if commit else package.version
