"""`collect`: let a problem's team act, at random or by a trained policy, and write what it saw, did, and the states."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.named_policy import named_policy
from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import Advance, progress_bar, show, table
from composite_flow.data.collect import collect_to
from composite_flow.data.episodes import Episodes
from composite_flow.errors import InputError
from composite_flow.problems.base import Problem
from composite_flow.problems.host import closing
from composite_flow.problems.kinds import world_from_text

DEFAULT_EPISODES = 4096


def collect(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    /,
    out: Path,
    *,
    episodes: int | None = None,
    samples: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    policy: str | None = None,
    greedy: bool = False,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Collect episodes of a problem, with random actions or those of a policy.

    Whole episodes are written shard by shard; the same command again goes on after an interruption.

    Args:
        problem: such as sensor:5x5,targets=2, sensor:2x2,miss=0.5/0.5/0/0, smax:zerg_5_vs_5, or
            smacv2:zerg_5_vs_5, which is StarCraft II itself; FILE.dpomdp; a world of another library, which
            `composite-flow worlds` lists; or MODULE:FACTORY,OPTION=VALUE for a world of your own, such as
            my_worlds:make,size=3.
        out: folder for the episodes, HDF5 files.
        episodes: how many; 4,096 where neither this nor --samples is given.
        samples: how many time steps of the team instead; the last episode is recorded to its end.
        steps: most steps of an episode; the problem's own number where not given.
        minutes: stop when they are over, and leave what is missing to the same command again.
        policy: folder of a run of `train-policy` in this problem, or, for a world on the host, MODULE:FUNCTION of your
            own; every available action is equally likely where none is given.
        greedy: take the policy's likeliest action instead of drawing one.
    """
    if episodes is not None and samples is not None:
        raise InputError("Give --episodes or --samples, not both.")
    if episodes is None and samples is None:
        episodes = DEFAULT_EPISODES
    world = world_from_text(problem)
    team = named_policy(policy, greedy, world)
    unit = "episodes" if samples is None else "time steps"
    first = "compiling" if isinstance(world, Problem) else "starting the world"
    with progress_bar(unit, first) as advance, closing(world):
        collected = collect_to(
            out,
            world,
            episodes,
            key=jax.random.key(shared.seed),
            num_samples=samples,
            policy=team,
            num_steps=steps,
            minutes=minutes,
            overwrite=shared.overwrite,
            in_memory=False,
            progress=_with_rate(advance, unit),
        )
    result = {"data": str(out), "policy": "random" if policy is None else str(policy), **_told(collected)}
    rows = [(name.replace("_", " "), value) for name, value in result.items() if not isinstance(value, dict)]
    show(result, [table(f"Collected {problem}", ("", "value"), rows)], as_json=shared.json)


def _told(collected: Episodes) -> dict[str, Any]:
    """What there is to say of the episodes."""
    return {
        "collected_by": collected.policy,
        "episodes": collected.num_episodes,
        "steps": collected.num_steps,
        "agents": collected.num_agents,
        "observation_features": collected.observation_size,
        "actions": collected.num_actions,
        "state_features": collected.state_size,
        "megabytes": round(collected.num_bytes / 1e6, 3),
        "problem": collected.description,
    }


def _with_rate(advance: Advance, unit: str) -> Callable[[int, int], None]:
    """Progress that also tells how fast the latest shard was."""
    before = {"done": 0, "time": time.monotonic()}

    def tell(done: int, total: int) -> None:
        now = time.monotonic()
        rate = (done - before["done"]) / max(now - before["time"], 1e-9)
        before.update(done=done, time=now)
        advance(done, total, f"{rate:,.0f} {unit}/s")

    return tell
