"""`team`: a whole team as processes on this machine, to which logged episodes are replayed."""

import dataclasses
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from composite_flow.cli.agent import TeamOptions, parts_of
from composite_flow.cli.live import PageOptions, stay
from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words
from composite_flow.cli.reporting import progress_bar, say, show, table
from composite_flow.errors import InputError
from composite_flow.page.live.team import TeamPage
from composite_flow.runs import RunData, open_run


def team(
    run: RunFolder,
    data: DataFolder,
    /,
    *,
    episodes: int = 4,
    period: float = 0.0,
    options: OmitArgPrefixes[TeamOptions] = TeamOptions(),  # noqa: B008 (frozen)
    page: OmitArgPrefixes[PageOptions] = PageOptions(),  # noqa: B008 (frozen)
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Start every agent as a process, replay logged episodes to them, and show what each of them knows.

    Nothing of an agent's observations leaves its process but its answers. With --page one watches them infer, also
    after the last step, until Ctrl-C.

    Args:
        run: folder of a finished run.
        data: folder of episodes; the run's test episodes of the data that it was trained on, of any other folder the
            first ones.
        episodes: how many to replay.
        period: seconds between two steps at least.
    """
    from composite_flow.runtime.start import make_rule

    opened = open_run(run, data)
    make_rule(opened.model, parts_of(options, "team")[1])  # refused here, before nine processes do so
    steps = _steps(opened, episodes)
    with page.served() as server:
        watched = None
        if server is not None:
            watched = TeamPage(server, opened.model, opened.whole, steps, f"{run.name} on {data.name}, live")
        found = _replayed(run, data, opened, steps, options, period, watched)
        states = np.concatenate(list(opened.whole.windows.states_of(np.asarray(steps))))
        result = {"steps": len(steps), "part": opened.part, "agents": _rows(opened, found, states)}
        title = f"What each agent inferred at {len(steps)} steps, {part_in_words(opened)} of {data}"
        show(result, [_table(title, result["agents"])], as_json=shared.json)
        if watched is not None:
            stay(lambda: watched.end("All steps have been replayed."))


def _replayed(
    run: Path,
    data: Path,
    opened: RunData,
    steps: Sequence[int],
    options: TeamOptions,
    period: float,
    page: TeamPage | None,
) -> list[tuple[int, dict[int, dict[str, Any]]]]:
    """Each step, and what the agents told of it."""
    from composite_flow.runtime.launcher import TeamProcesses, agent_command, replay

    name = f"replay-{uuid.uuid4().hex[:8]}"
    arguments = as_arguments(options)
    commands = {agent: agent_command(str(run), agent, name, arguments) for agent in range(opened.dataset.num_agents)}
    tell = say if page is None else lambda sentence: (say(sentence), page.say(sentence))
    tell(f"Starting {len(commands)} agents.")
    found: list[tuple[int, dict[int, dict[str, Any]]]] = []
    with TeamProcesses(name, commands, options.lease) as processes, progress_bar("steps") as advance:
        processes.wait_until_met()
        logged = dataclasses.replace(_episodes(data), scaling=opened.model.scaling)
        for step, told in replay(processes, logged, steps, options.deadline + 1.0, period):
            found.append((step, told))
            advance(len(found), len(steps))
            if page is not None:
                page.step(step, told)
                page.say(f"{len(found)} of {len(steps)} steps have been replayed.")
    return found


def as_arguments(options: TeamOptions) -> list[str]:
    """The options of a command that says the same; left out are defaults, and the lease, which `TeamProcesses` adds."""
    found = []
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), "--" + field.name.replace("_", "-")
        if value != field.default and field.name != "lease":
            found += [name] if value is True else [name, str(value)]
    return found


def _episodes(data):
    from composite_flow.data.episodes import Episodes

    return Episodes.load(data)


def _steps(opened: RunData, episodes: int) -> list[int]:
    """All steps of the first of these episodes."""
    if episodes < 1:
        raise InputError(f"--episodes must be at least 1, not {episodes}.")
    ids = np.asarray(opened.dataset.windows.episode_of_step)[np.asarray(opened.dataset.steps)]
    chosen = np.unique(ids)[:episodes]
    return np.asarray(opened.dataset.steps)[np.isin(ids, chosen)].tolist()


def _rows(opened: RunData, found: Sequence[tuple[int, dict[int, dict[str, Any]]]], states) -> list[dict[str, Any]]:
    """For each agent: steps told, verdicts, members heard, error on scaled states, bytes, lateness and refusals."""
    scaling, rows = opened.model.scaling, []
    scaled = np.asarray(scaling.scale(jnp.asarray(states)))
    for agent in range(opened.dataset.num_agents):
        told = [(place, one[agent]) for place, (_, one) in enumerate(found) if agent in one and "mean" in one[agent]]
        means = np.asarray([list(one["mean"].values()) for _, one in told], np.float32)
        error = np.asarray(scaling.scale(jnp.asarray(means))) - scaled[[place for place, _ in told]] if told else None
        rows.append(
            {
                "agent": agent,
                "steps": len(told),
                "verdicts": dict(Counter(_verdict(one) for _, one in told)),
                "heard": _mean([len(one["participants"]) for _, one in told]),
                "root_mean_square_error": None if error is None else float(np.sqrt(np.mean(error**2))),
                "bytes": _mean([one["bytes"] for _, one in told]),
                "milliseconds_late": 1000 * max((one["late"] for _, one in told), default=0.0),
                "refused": told[-1][1]["refused"] if told else {},
            }
        )
    return rows


def _verdict(told: dict[str, Any]) -> str:
    """Accepted, the reason why not, or that nothing was said of it, since what is usual was not measured."""
    found = told.get("verdict")
    return "not measured" if found is None else "accepted" if found["accepted"] else found["reason"]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _table(title: str, rows: Sequence[dict[str, Any]]):
    columns = (
        "agent",
        "steps",
        "members heard",
        "error (scaled)",
        "bytes a step",
        "most ms late",
        "refused",
        "verdicts",
    )
    names = ("agent", "steps", "heard", "root_mean_square_error", "bytes", "milliseconds_late")
    shown = []
    for row in rows:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in row["verdicts"].items())
        shown.append([*(row[name] for name in names), sum(row["refused"].values()), verdicts])
    return table(title, columns, shown)
