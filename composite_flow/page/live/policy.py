"""The page of a policy's training: learning curves as they grow, and what its agents infer of the worlds in play."""

import jax
import numpy as np

from composite_flow.data.collect import collect
from composite_flow.data.feature_types import FeatureTypes, find_types
from composite_flow.data.scaling import Scaling
from composite_flow.page.content import PageContent, Part
from composite_flow.page.live.server import PageServer
from composite_flow.page.live.training import TrainingTeller
from composite_flow.page.world_map import map_of
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inputs import input_class
from composite_flow.policy.setup import PROBE_EPISODES
from composite_flow.policy.watch import Inferred
from composite_flow.problems.base import Problem
from composite_flow.training.listener import SHOWN

_OBSERVED = 2**14  # numbers of observations; more would be too many to tell twice a second
_NOTHING = (
    "The agents of this policy infer no state (its input is “{kind}”), so that there is none to show beside the truth: "
    "what one sees are its learning curves."
)


class PolicyPage(TrainingTeller):
    """The page of a run of `train-policy`; a `PolicyListener`."""

    def __init__(self, server: PageServer, title: str, problem: Problem, config: MappoConfig):
        """As of `TrainingTeller`; `problem` and `config` are those of the training."""
        super().__init__(server, title)
        self._problem, self._config, self._is_served = problem, config, False

    def starts(self, scaling: Scaling | None) -> None:
        if not self._is_served:
            self._serve(content_of_policy(self._problem, self._config, scaling, self._title))
        self._is_served = True

    def infers(self, step: int, found: Inferred) -> None:
        seen = {"truth": found.states}
        if found.observations.size <= _OBSERVED:
            seen["observed"] = found.observations
        self._infers(way_in_words(self._config), step, found.mean, found.variance, **seen)


def way_in_words(config: MappoConfig) -> str:
    """By what agents infer, which goes on after "by"."""
    chosen = input_class(config.inputs)
    if config.samples_of == "team":
        return "samples of the team's joint posterior"
    if chosen.carries:
        return "what the team carries over time" if chosen.together else "what each agent carries over time, averaged"
    return "composite diffusion" if chosen.together else "each agent alone, averaged"


def content_of_policy(problem: Problem, config: MappoConfig, scaling: Scaling | None, title: str) -> PageContent:
    """What the page holds before anything is told: as many worlds as will be, of states that are not known yet.

    Args:
        problem: in which the policy acts.
        config: of its training.
        scaling: of states that agents infer; None where they infer none.
        title: of the page.
    """
    live: Part = ({"live": {"kind": "training", "shown": "worlds"}}, {})
    if scaling is None:
        nothing = FeatureTypes((), (), 0), Scaling.identity(0), (1,), np.zeros((1, 0), np.float32)
        return PageContent(title, (), (), *nothing, [live], (_NOTHING.format(kind=config.inputs),))
    shown, size = min(SHOWN, config.worlds), problem.state_size
    some = collect(problem, PROBE_EPISODES, key=jax.random.key(0)).states
    types = find_types(np.asarray(scaling.scale(some)))
    parts: list[Part] = [live, ({"map": map_of(problem.description, problem.state_names)}, {})]
    observed = np.zeros((shown, problem.num_agents, problem.observation_size), np.float32)
    if observed.size <= _OBSERVED:
        parts.append(({}, {"observed": observed}))
    agents = tuple(f"agent {agent + 1}" for agent in range(problem.num_agents))
    states = np.full((shown, size), np.nan, np.float32)
    return PageContent(title, agents, tuple(problem.state_names), types, scaling, (1,) * shown, states, parts)
