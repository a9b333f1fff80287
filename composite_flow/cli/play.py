"""`play`: watch a trained policy, with what its agents see and infer, as an animation or in a page."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import RunFolder, Shared, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.errors import InputError
from composite_flow.page.from_records import content_of_records
from composite_flow.page.html import write_page
from composite_flow.plots.episode_plot import animate, shown_agents
from composite_flow.policy.episode import EpisodeRecord, record_episode
from composite_flow.policy.saving import load_policy, load_problem

EPISODE_FILE = "episode_{}.gif"

_OTHER_FILMS = (".apng", ".avi", ".mov", ".mp4", ".png", ".webm", ".webp")  # no folder is meant by these


def play(
    run: RunFolder,
    /,
    out: Path,
    *,
    episodes: int = 1,
    steps: int | None = None,
    agent: tuple[int, ...] = (),
    greedy: bool = False,
    pace: float = 4.0,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Watch episodes of a trained policy: the world as it is, what agents see of it, and what they infer.

    Args:
        run: folder of a finished train-policy.
        out: a file that ends with .gif, for all episodes in a row; one that ends with .html, for a page in which one
            scrubs through them; or a folder for a .gif per episode.
        episodes: how many.
        steps: most steps of an episode; the problem's own number where not given.
        agent: whose views are animated, counted from 0; those of the first six where none is named.
        greedy: take the likeliest actions instead of drawing them.
        pace: steps per second.
    """
    if episodes < 1:
        raise InputError(f"The number of episodes must be at least 1, not {episodes}.")
    if not 0 < pace <= 100:
        raise InputError(f"The pace must be above 0 and at most 100 steps per second, not {pace}.")
    if out.suffix.lower() in _OTHER_FILMS:
        raise InputError(f"Episodes are written as .gif or .html, not as {out.suffix}: name such a file or a folder.")
    each = [out / EPISODE_FILE.format(place) for place in range(episodes)]
    paths = [out] if out.suffix.lower() in (".gif", ".html") else each
    for path in paths:
        refuse_existing(path, overwrite=shared.overwrite)
    policy, problem = load_policy(run, greedy=greedy), load_problem(run)
    shown_agents(problem.num_agents, agent)  # before the work, not after it
    keys = jax.random.split(jax.random.key(shared.seed), episodes)
    records = [record_episode(problem, policy, key=key, num_steps=steps) for key in keys]
    if out.suffix.lower() == ".html":
        content = content_of_records(problem, records, policy.team.inputs.inference, title=f"Episodes of {run.name}")
        write_page(content, out, overwrite=shared.overwrite)
    else:
        _animate(problem, records, paths, agent, pace)
    result = {
        "run": str(run),
        "inputs": policy.team.inputs.kind,
        "files": [str(path) for path in paths],
        "episodes": [_told(record) for record in records],
    }
    rows = [(place, *told.values()) for place, told in enumerate(result["episodes"])]
    columns = ("episode", "return", "steps", "won", "error of inferred states")
    show(result, [table(", ".join(result["files"]), columns, rows)], as_json=shared.json)


def _animate(problem, records: list[EpisodeRecord], paths: list[Path], agents: tuple[int, ...], pace: float) -> None:
    """All episodes in a row, or a file per episode."""
    parts = [records] if len(paths) == 1 else [[record] for record in records]
    done, total = 0, sum(record.num_steps for record in records)
    with progress_bar("frames", "drawing") as advance:
        for path, part in zip(paths, parts, strict=True):
            animate(
                problem,
                part,
                path,
                agents=agents,
                frames_per_second=pace,
                progress=lambda frames, _, before=done: advance(before + frames, total),
            )
            done += sum(record.num_steps for record in part)


def _told(record: EpisodeRecord) -> dict[str, Any]:
    """An episode in a few numbers; the error is a root mean square over steps, agents and features."""
    error = None
    if record.estimates is not None:
        error = float(np.sqrt(np.mean((record.estimates - record.states[:, None]) ** 2)))
    return {"return": float(record.rewards.sum()), "steps": record.num_steps, "won": record.won, "error": error}
