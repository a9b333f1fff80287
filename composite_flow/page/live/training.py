"""The page of a training: learning curves as they grow, and what the network infers of a few validation steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.run_split import choose_steps
from composite_flow.fusion.features import find_types
from composite_flow.page.content import PageContent
from composite_flow.page.from_model import agent_names, observed_part, with_unknown
from composite_flow.page.html import page_of
from composite_flow.page.live.server import PageServer
from composite_flow.page.world_map import map_of

_TYPED = 4096  # steps that show which features are numbers


class TrainingTeller:
    """Tells a page what all trainings have: learning curves, how far it is, how it ended."""

    def __init__(self, server: PageServer, title: str):
        """Nothing is served before the training starts.

        Args:
            server: where it is served.
            title: of the page.
        """
        self._server, self._title = server, title
        self._told: Counter[str] = Counter()

    def curve(self, network: str, points: Sequence[Mapping[str, Any]]) -> None:
        """All points of a network's learning curve so far, of which those are told that are new."""
        fresh = points[self._told[network] :]
        if fresh:
            self._told[network] = len(points)
            self._server.log.tell("points", {"network": network, "points": fresh})

    def progress(self, step: int, planned: int, note: str) -> None:
        """How far it is."""
        self._server.log.replace("progress", {"step": step, "planned": planned, "note": note})

    def end(self, sentence: str) -> None:
        """Nothing more comes."""
        self._server.log.tell("end", {"text": sentence})

    def _serve(self, content: PageContent) -> None:
        self._server.open(page_of(content, served=True))

    def _infers(self, by: str, step: int, mean: Any, variance: Any, **seen: Any) -> None:
        """What is inferred of the shown states; with the states themselves where they are new ones."""
        self._server.log.replace("inferred", {"by": by, "step": step, "mean": mean, "variance": variance, **seen})


class TrainingPage(TrainingTeller):
    """The page of a run of `train`; a `Listener` of `train_run`."""

    def __init__(self, server: PageServer, title: str, problem: Mapping[str, Any] | None = None):
        """As of `TrainingTeller`; `problem` is the description of the world, whose map is shown."""
        super().__init__(server, title)
        self._problem = problem

    def starts(self, validation: HistoryDataset, steps: np.ndarray) -> None:
        self._serve(content_of_training(validation, steps, self._title, self._problem))

    def infers(self, by: str, step: int, mean: np.ndarray, variance: np.ndarray) -> None:
        self._infers(by, step, mean, variance)


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
    parts.append(({"live": {"kind": "training", "shown": "steps"}}, {}))
    about = title, agent_names(layout), names, types, validation.scaling
    return PageContent(*about, (1,) * len(steps), states, parts)
