"""`cf.show`: write the page of a model on logged episodes."""

import os
from pathlib import Path

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.model import Model
from composite_flow.page.from_model import content_of_model
from composite_flow.page.html import write_page


def show(
    model: Model,
    episodes: Episodes | HistoryDataset,
    out: str | os.PathLike,
    *,
    num_episodes: int = 20,
    title: str = "A team infers a state together",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write one HTML file in which one watches a team infer the states of these episodes, and agree.

    It opens from the disk and asks no network for anything. It holds the agents' answers, the true states, what agents
    observe and, where the denoiser has 600,000 weights at most, this and their histories: give it to whom you would
    give the data.

    Args:
        model: with fusion, a denoiser that is a network, or both.
        episodes: logged episodes, or a part of them such as the test episodes.
        out: the file.
        num_episodes: how many of them are shown, from the first on.
        title: of the page.
        seed: draws the noisy states that composite diffusion starts from.
        overwrite: whether a file in its place may be replaced.

    Raises:
        InputError: there is nothing to show, or too much.
        MismatchError: the episodes' histories are not of the model's layout.
        FileError: a file is in the way, or cannot be written.
    """
    if isinstance(episodes, Episodes):
        episodes = HistoryDataset(episodes, model.layout.length)
    content = content_of_model(model, episodes.with_scaling(model.scaling), num_episodes, title=title, seed=seed)
    return write_page(content, Path(out), overwrite=overwrite)
