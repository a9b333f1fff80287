"""The page of a team of processes: logged episodes, and what each agent tells of their steps as they are replayed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.data.dataset import HistoryDataset
from composite_flow.model import Model
from composite_flow.page.content import PageContent
from composite_flow.page.from_model import agent_names, observed_part, types_of, with_unknown
from composite_flow.page.html import page_of
from composite_flow.page.live.server import PageServer
from composite_flow.page.world_map import map_of


class TeamPage:
    """Tells a page what agents infer, step by step."""

    def __init__(self, server: PageServer, model: Model, dataset: HistoryDataset, steps: Sequence[int], title: str):
        """Opens the page, with all that is known before: the truth, the map, what agents will see.

        Args:
            server: where it is served.
            model: which the agents run.
            dataset: of the episodes that are replayed.
            steps: which will be, in rising order.
            title: of the page.
        """
        self._log = server.log
        self._row = {step: row for row, step in enumerate(steps)}
        server.open(page_of(content_of_team(model, dataset, steps, title), served=True))

    def say(self, sentence: str) -> None:
        """How it stands."""
        self._log.replace("status", {"text": sentence})

    def step(self, step: int, told: Mapping[int, Mapping[str, Any]]) -> None:
        """What agents told of a step, as they told it, by agent."""
        each = [{name: value for name, value in one.items() if name != "received"} for one in told.values()]
        self._log.tell("step", {"row": self._row[step], "told": each})

    def end(self, sentence: str) -> None:
        """Nothing more comes."""
        self._log.tell("end", {"text": sentence})


def content_of_team(model: Model, dataset: HistoryDataset, steps: Sequence[int], title: str) -> PageContent:
    """What the page holds before anything is told; arguments as of `TeamPage`."""
    chosen = np.asarray(steps)
    joint = dataset.joint(chosen)
    states = with_unknown(dataset, chosen, np.asarray(joint.states))
    types = model.fusion.answers.prior.types if model.fusion is not None else types_of(states)
    episodes = np.asarray(dataset.windows.episode_of_step)[chosen]
    lengths = tuple(np.unique(episodes, return_counts=True)[1].tolist())
    parts = observed_part(np.asarray(joint.histories), model.layout)
    parts.append(({"map": map_of(model.description.get("problem"), model.state_names)}, {}))
    parts.append(({"live": {"kind": "team"}}, {}))
    names = agent_names(model.layout), tuple(model.state_names)
    return PageContent(title, *names, types, model.scaling, lengths, states, parts)
