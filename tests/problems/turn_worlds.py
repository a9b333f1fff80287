"""Small environments with PettingZoo's own interfaces, in which every number is known."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv


class Counter(ParallelEnv):
    """Two agents count up by their actions; `first` sees the sum, `second` the sum and its parity; ends at 5.

    `first` has three actions, `second` two, of which the second is masked while the sum is odd.
    """

    metadata = {"name": "counter_v0"}

    def __init__(self, state="own", grows=False):
        self.possible_agents, self.total, self.kind, self.grows = ["first", "second"], 0, state, grows
        self.max_cycles = 9

    def observation_space(self, agent):
        seen = Box(0, 99, (1,)) if agent == "first" else Box(0, 99, (2,))
        return Dict({"observation": seen, "action_mask": Box(0, 1, (2,), np.int8)}) if agent == "second" else seen

    def action_space(self, agent):
        return Discrete(3) if agent == "first" else Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.total = list(self.possible_agents), seed % 2
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.total += sum(actions.values())
        is_over = self.total >= 5
        told = self._seen(), dict.fromkeys(self.agents, 1.0), dict.fromkeys(self.agents, is_over)
        found = (*told, dict.fromkeys(self.agents, False), {agent: {} for agent in self.agents})
        self.agents = [] if is_over else self.agents
        return found

    def state(self):
        if self.kind == "none":
            raise NotImplementedError
        return np.array([self.total, 7.0]) if self.kind == "own" else np.array([self.total] * 2)

    def close(self):
        pass

    def _seen(self):
        longer = [0.0] if self.grows and self.total > 2 else []
        both = np.array([self.total, self.total % 2, *longer], np.float32)
        mask = np.array([1, 1 - self.total % 2], np.int8)
        return {"first": np.array([self.total], np.float32), "second": {"observation": both, "action_mask": mask}}


class Echo(Counter):
    """Agents see the total and nothing else, and the state is that side by side."""

    def observation_space(self, agent):
        return Box(0, 99, (1,))

    def _seen(self):
        return {agent: np.array([self.total], np.float32) for agent in self.possible_agents}


class Turns(AECEnv):
    """Agents add their actions in turn, in the order that is given; each sees the sum; ends after three rounds."""

    metadata = {"name": "turns_v0"}

    def __init__(self, order=("a", "b")):
        super().__init__()
        self.possible_agents, self.order, self.max_cycles = ["a", "b"], order, 3
        self.render_mode = None

    def observation_space(self, agent):
        return Box(0, 99, (1,))

    def action_space(self, agent):
        return Discrete(2, start=1)

    def observe(self, agent):
        return np.array([self.total], np.float32)

    def state(self):
        return np.array([self.total, 0.0, 1.0])

    def reset(self, seed=None, options=None):
        self.agents, self.total, self.count = list(self.possible_agents), 0, 0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.order[0]

    def step(self, action):
        if self.terminations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.rewards[self.agent_selection] = float(action)
        self.total += action
        self.count += 1
        if self.count == 3 * len(self.order):
            self.terminations = dict.fromkeys(self.agents, True)
        self.agent_selection = self.order[self.count % len(self.order)]


def highest(observations, available):
    """The highest action that is available; a policy in plain Python."""
    return available.shape[1] - 1 - np.argmax(available[:, ::-1], axis=1)


class Alternating:
    """Everybody takes action 0 in the first step of an episode, then the highest that is available."""

    def __init__(self):
        self.steps = None

    def reset(self):
        self.steps = 0

    def __call__(self, observations, available):
        self.steps += 1
        return highest(observations, available) if self.steps > 1 else np.zeros(len(available), int)
