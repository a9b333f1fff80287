"""`play`: watch a team act, with what its agents see and infer, as an animation or in a page."""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.named_policy import named_policy
from composite_flow.cli.options import Shared, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.errors import InputError
from composite_flow.page.from_records import content_of_records
from composite_flow.page.html import write_page
from composite_flow.plots.episode_plot import animate, shown_agents
from composite_flow.policy.episode import EpisodeRecord, record_episode
from composite_flow.policy.inference import Inference
from composite_flow.policy.saving import load_policy, load_problem
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.base import Policy, RandomPolicy
from composite_flow.problems.host import AnyProblem, closing
from composite_flow.problems.kinds import names_a_world, world_from_text

EPISODE_FILE = "episode_{}.gif"

_OTHER_FILMS = (".apng", ".avi", ".mov", ".mp4", ".png", ".webm", ".webp")  # no folder is meant by these


def play(
    run: Annotated[Positional[str], arg(metavar="RUN|PROBLEM")],
    /,
    out: Path,
    *,
    policy: str | None = None,
    episodes: int = 1,
    steps: int | None = None,
    agent: tuple[int, ...] = (),
    greedy: bool = False,
    pace: float = 4.0,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Watch episodes: the world as it is, what agents see of it, and what they infer.

    A world is drawn by its own painter, or by the library that simulates it where that can; else its state's features
    are rows over time. What agents see of it, where they infer nothing, are rows as well.

    Args:
        run: folder of a finished train-policy, whose team acts in the problem that it was trained in; or a problem, as
            `collect` takes it, such as lbf:Foraging-2s-8x8-2p-2f-v3.
        out: a file that ends with .gif, for all episodes in a row; one that ends with .html, for a page in which one
            scrubs through them; or a folder for a .gif per episode.
        policy: who acts in a problem, as in `collect`: folder of a run, or MODULE:FUNCTION in a world on the host; at
            random where none is given.
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
    problem, team = _opened(run, policy, greedy)
    with closing(problem):
        shown_agents(problem.num_agents, agent)  # before the work, not after it
        keys, is_page = jax.random.split(jax.random.key(shared.seed), episodes), out.suffix.lower() == ".html"
        records = [record_episode(problem, team, key=key, num_steps=steps, pictures=not is_page) for key in keys]
    if is_page:
        content = content_of_records(problem, records, _inference(team), title=f"Episodes of {Path(run).name}")
        write_page(content, out, overwrite=shared.overwrite)
    else:
        _animate(problem, records, paths, agent, pace)
    result = {
        "run": run,
        "inputs": team.team.inputs.kind if isinstance(team, TrainedPolicy) else None,
        "files": [str(path) for path in paths],
        "episodes": [_told(record) for record in records],
    }
    rows = [(place, *told.values()) for place, told in enumerate(result["episodes"])]
    columns = ("episode", "return", "steps", "won", "error of inferred states")
    show(result, [table(", ".join(result["files"]), columns, rows)], as_json=shared.json)


def _opened(run: str, policy: str | None, greedy: bool) -> tuple[AnyProblem, Policy]:
    """The world, and who acts in it."""
    if names_a_world(run) and not Path(run).is_dir():
        problem = world_from_text(run)
        return problem, named_policy(policy, greedy, problem) or RandomPolicy()
    if policy is not None:
        raise InputError(
            f"--policy says who acts in a problem that is named, but {run} is a run, with a team of its own."
        )
    team = load_policy(run, greedy=greedy)
    return load_problem(run), team


def _inference(policy: Policy) -> Inference | None:
    """How a team infers; None where it does not."""
    return policy.team.inputs.inference if isinstance(policy, TrainedPolicy) else None


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
