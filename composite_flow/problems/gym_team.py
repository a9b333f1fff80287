"""Gymnasium's environments whose spaces are tuples, one entry for each agent, as those of LBF and RWARE."""

from typing import Any


class TupleTeam:
    """Such an environment with the interface of a parallel one."""

    def __init__(self, world: Any):
        self.world = world
        self.possible_agents = [f"agent {place}" for place in range(len(world.action_space))]
        self.agents: list[str] = []

    @property
    def unwrapped(self) -> Any:
        """The environment within."""
        return self.world.unwrapped

    def observation_space(self, agent: str) -> Any:
        return self.world.observation_space[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        return self.world.action_space[self.possible_agents.index(agent)]

    def close(self) -> None:
        self.world.close()

    def reset(self, seed: int) -> tuple[dict, dict]:
        """Start anew."""
        seen, _ = self.world.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return self._by_agent(seen), {}

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        """One step of all."""
        chosen = [actions[agent] for agent in self.possible_agents]
        seen, rewards, terminated, truncated, _ = self.world.step(chosen)
        found = self._by_agent(seen), self._by_agent(rewards), self._all(terminated), self._all(truncated), {}
        if terminated or truncated:
            self.agents = []
        return found

    def _by_agent(self, values: Any) -> dict:
        return dict(zip(self.possible_agents, values, strict=True))

    def _all(self, value: Any) -> dict:
        return dict.fromkeys(self.possible_agents, bool(value))
