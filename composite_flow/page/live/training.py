"""The page of a training: learning curves as they grow, and what the network infers of a few validation steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.run_split import choose_steps
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.page.content import PageContent
from composite_flow.page.from_model import agent_names, observed_part, with_unknown
from composite_flow.page.html import page_of
from composite_flow.page.live.server import PageServer
from composite_flow.page.world_map import map_of

_TYPED = 4096  # steps that show which features are numbers


class TrainingPage:
    """Tells a page how a training goes; a `Listener` of `train_run`, and of a policy's progress."""

    def __init__(self, server: PageServer, title: str, problem: Mapping[str, Any] | None = None):
        """Nothing is served before the training starts.

        Args:
            server: where it is served.
            title: of the page.
            problem: description of the world, whose map is shown.
        """
        self._server, self._title, self._problem = server, title, problem
        self._told: Counter[str] = Counter()

    def starts(self, validation: HistoryDataset, steps: np.ndarray) -> None:
        content = content_of_training(validation, steps, self._title, self._problem)
        self._server.open(page_of(content, served=True))

    def curve(self, network: str, points: Sequence[Mapping[str, Any]]) -> None:
        fresh = points[self._told[network] :]
        if fresh:
            self._told[network] = len(points)
            self._server.log.tell("points", {"network": network, "points": fresh})

    def infers(self, by: str, step: int, mean: np.ndarray, variance: np.ndarray) -> None:
        self._server.log.replace("inferred", {"by": by, "step": step, "mean": mean, "variance": variance})

    def progress(self, step: int, planned: int, note: str) -> None:
        """How far it is."""
        self._server.log.replace("progress", {"step": step, "planned": planned, "note": note})

    def end(self, sentence: str) -> None:
        """Nothing more comes."""
        self._server.log.tell("end", {"text": sentence})


class PolicyPage(TrainingPage):
    """The same of a policy, which has no validation steps: its curves alone."""

    def open(self) -> None:
        """Serve it from now on."""
        nothing = FeatureTypes((), (), 0)
        states = np.zeros((1, 0), np.float32)
        live: list = [({"live": {"kind": "training"}}, {})]
        content = PageContent(self._title, (), (), nothing, Scaling.identity(0), (1,), states, live)
        self._server.open(page_of(content, served=True))


def content_of_training(
    validation: HistoryDataset, steps: np.ndarray, title: str, problem: Mapping[str, Any] | None
) -> PageContent:
    """What the page holds before anything is told: the true states of these steps, an episode of one step each."""
    joint, layout = validation.joint(steps), validation.layout
    states, names = with_unknown(validation, steps, np.asarray(joint.states)), tuple(validation.windows.state_names)
    some = np.concatenate(list(validation.windows.states_of(choose_steps(validation, _TYPED, seed=0))))
    types = find_types(np.asarray(validation.scaling.scale(some)), validation.windows.declared_types)
    parts = observed_part(np.asarray(joint.histories), layout)
    parts.append(({"map": map_of(None if problem is None else dict(problem), names)}, {}))
    parts.append(({"live": {"kind": "training"}}, {}))
    about = title, agent_names(layout), names, types, validation.scaling
    return PageContent(*about, (1,) * len(steps), states, parts)
