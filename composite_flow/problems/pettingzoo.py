"""PettingZoo's environments (extra `pettingzoo`): parallel ones, and those in which agents take turns (AEC).

    problem = cf.from_pettingzoo(lambda: pursuit_v5.parallel_env())
    problem = cf.from_pettingzoo(lambda: simple_tag_v3.parallel_env(), state=lambda env: ...)
    episodes = cf.collect(problem, num_episodes=512, key=key)

In an AEC environment a step is one round, in which each agent acts once, on what it saw when the round began.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from composite_flow.errors import InputError
from composite_flow.files.names import in_short
from composite_flow.problems.parallel import ParallelWorld, StateReader


def from_pettingzoo(
    make_env: Callable[[], Any], state: StateReader | None = None, *, num_steps: int | None = None
) -> ParallelWorld:
    """A world of PettingZoo, or of any library with its interface, to collect episodes from.

    Args:
        make_env: makes the environment, parallel or AEC.
        state: reads the state off the environment: an array, or a dictionary of arrays by name. The environment's own
            `state()` where None.
        num_steps: most steps of an episode; the environment's own limit where None.

    Raises:
        InputError: the environment has no state, or a `state()` that is only all observations side by side; agents act
            by numbers; it does not say how long an episode is; or it cannot be made.
    """
    try:
        world = make_env()
    except Exception as error:  # whatever another library raises
        raise InputError(f"The environment cannot be made: {in_short(error)}.") from error
    if not hasattr(world, "possible_agents"):
        raise InputError(f"{type(world).__name__} is no environment of PettingZoo: it has no possible_agents.")
    by = "state()" if state is None else f"{state.__module__}:{getattr(state, '__qualname__', type(state).__name__)}"
    name = str(getattr(world, "metadata", {}).get("name", type(world).__name__))
    told = {"kind": "pettingzoo", "world": name, "state": by, "pettingzoo": library_version("pettingzoo")}
    parallel = Rounds(world) if hasattr(world, "agent_iter") else world
    reads = None if state is None else (lambda _: state(world))
    return ParallelWorld(parallel, reads, num_steps=num_steps, description=told)


def library_version(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


class Rounds:
    """An AEC environment as one in which all agents act at once: each acts once in a round."""

    def __init__(self, world: Any):
        self.world, self.possible_agents, self.agents = world, list(world.possible_agents), []

    @property
    def unwrapped(self) -> Any:
        """The environment within."""
        return self.world.unwrapped

    def observation_space(self, agent: Any) -> Any:
        return self.world.observation_space(agent)

    def action_space(self, agent: Any) -> Any:
        return self.world.action_space(agent)

    def state(self) -> Any:
        return self.world.state()

    def close(self) -> None:
        self.world.close()

    def reset(self, seed: int) -> tuple[dict, dict]:
        """Start anew."""
        self.world.reset(seed=seed)
        self.agents = list(self.world.agents)
        return self._seen(), dict(self.world.infos)

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        """A round: every agent that is there acts once, in the environment's own order.

        Raises:
            InputError: an agent would act twice before another one has acted once.
        """
        waiting, rewards = set(actions), dict.fromkeys(actions, 0.0)
        terminated, truncated = dict.fromkeys(actions, False), dict.fromkeys(actions, False)
        while self.world.agents and waiting:
            agent = self.world.agent_selection
            is_done = self.world.terminations[agent] or self.world.truncations[agent]
            if agent not in waiting and not is_done:
                others = ", ".join(sorted(map(str, waiting)))
                raise InputError(
                    f"Agent {agent} acts twice before {others} acted once, so that no step has one action of each; "
                    "give a parallel environment, or one in which agents take turns."
                )
            self.world.step(None if is_done else actions[agent])
            waiting.discard(agent)
            for name, reward in self.world.rewards.items():
                rewards[name] = rewards.get(name, 0.0) + float(reward)
            terminated.update(self.world.terminations)
            truncated.update(self.world.truncations)
            waiting -= {name for name in waiting if name not in self.world.agents}
        self.agents = [name for name in self.world.agents if not (terminated[name] or truncated[name])]
        return self._seen(), rewards, terminated, truncated, dict(self.world.infos)

    def _seen(self) -> dict:
        return {agent: self.world.observe(agent) for agent in self.world.agents}
