"""`collect`: let a problem's team act, at random or by a trained policy, and write what it saw, did, and the states."""

from pathlib import Path
from typing import Annotated

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.commands.options import Shared
from composite_flow.data.collect import collect_to
from composite_flow.errors import InputError
from composite_flow.policy.trained import TrainedPolicy, load_policy
from composite_flow.problems import Problem, problem_from_text
from composite_flow.reporting import progress_bar, show, table


def collect(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    /,
    out: Path,
    *,
    episodes: int = 4096,
    steps: int | None = None,
    policy: Path | None = None,
    greedy: bool = False,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Collect episodes of a problem, with random actions or those of a policy.

    Args:
        problem: such as sensor:5x5,targets=2 or sensor:2x2,miss=0.5/0.5/0/0.
        out: folder for the episodes, HDF5 files.
        episodes: how many.
        steps: most steps of an episode; the problem's own number where not given.
        policy: folder of a run of `train-policy`; every available action is equally likely where not given.
        greedy: take the policy's likeliest action instead of drawing one.
    """
    world = problem_from_text(problem)
    team = _team(policy, greedy, world)
    with progress_bar("episodes") as advance:
        collected = collect_to(
            out,
            world,
            episodes,
            key=jax.random.key(shared.seed),
            policy=team,
            num_steps=steps,
            overwrite=shared.overwrite,
            progress=advance,
        )
    result = {
        "data": str(out),
        "policy": "random" if policy is None else str(policy),
        "episodes": collected.num_episodes,
        "steps": collected.num_steps,
        "agents": collected.num_agents,
        "observation_features": collected.observation_size,
        "actions": collected.num_actions,
        "state_features": collected.state_size,
        "megabytes": round(collected.num_bytes / 1e6, 3),
        "problem": collected.description,
    }
    rows = [(name.replace("_", " "), value) for name, value in result.items() if name != "problem"]
    show(result, [table(f"Collected {problem}", ("", "value"), rows)], as_json=shared.json)


def _team(folder: Path | None, greedy: bool, problem: Problem) -> TrainedPolicy | None:
    """The policy of a folder, which must fit the problem; None for random actions."""
    if folder is None:
        if greedy:
            raise InputError("--greedy needs a --policy, whose likeliest actions are then taken.")
        return None
    policy = load_policy(folder, greedy=greedy)
    policy.check(problem)
    return policy
