"""`evaluate-policy`: what a trained policy is worth, in episodes that its training has not seen."""

from pathlib import Path
from typing import Any

import jax
from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import RunFolder, Shared, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.errors import InputError
from composite_flow.files.plain_json import write_json
from composite_flow.policy.evaluation import evaluate_policy as evaluate
from composite_flow.policy.saving import load_policy, load_problem
from composite_flow.problems import SMAX, Problem
from composite_flow.problems.smax_sight import OtherSight


def evaluate_policy(
    run: RunFolder,
    /,
    *,
    episodes: int = 1000,
    greedy: bool = False,
    sight: float | None = None,
    lost: float = 0.0,
    samples: int = 8,
    out: Path | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Measure a trained policy: return, wins, and what its agents know of the state.

    It plays in the problem that it was trained in, on other random numbers than in training, whatever the seed.

    Args:
        run: folder of a finished train-policy.
        episodes: how many; each counts once.
        greedy: take the likeliest actions instead of drawing them.
        sight: how far allies see in SMAX, where not as in training.
        lost: chance that a message is lost, where agents infer the state together.
        samples: states that each agent draws in each step to tell whether it is certain; 0 is faster and does not ask.
        out: JSON file for the result; nothing is written where not given.
    """
    if out is not None:
        refuse_existing(out, overwrite=shared.overwrite)
    policy = load_policy(run, greedy=greedy)
    problem, sight = _problem_of(run, sight)
    with progress_bar("episodes") as advance:
        evaluation = evaluate(
            problem,
            policy,
            key=jax.random.key(shared.seed),
            num_episodes=episodes,
            lost=lost,
            num_samples=samples,
            progress=advance,
        )
    chosen = {"greedy": greedy, "sight": sight, "lost": lost}
    about = {"run": str(run), "inputs": policy.team.inputs.kind, "steps": policy.steps, "seed": shared.seed}
    result: dict[str, Any] = {**about, **chosen, **evaluation.summary()}
    if out is not None:
        write_json(out, result)
    show(result, [_table(run, result)], as_json=shared.json)


def _problem_of(run: Path, sight: float | None) -> tuple[Problem, float | None]:
    """The problem that a run's policy was trained in, at the sight that is given, and its sight where it has one."""
    problem = load_problem(run)
    if isinstance(problem, SMAX):
        return (problem, problem.sight) if sight is None else (OtherSight(problem, sight), sight)
    if sight is not None:
        raise InputError(f"--sight is for SMAX, and {run} was trained in another kind of world; leave it out.")
    return problem, None


def _table(run: Path, result: dict[str, Any]):
    """Each measure with its interval, where it has one."""
    rows = []
    for name in ("return", "win_rate", "length", "psnr", "certain", "right_when_certain", "messages", "message_bytes"):
        low, high = result.get(f"{name}_interval") or (None, None)
        rows.append((name.replace("_", " "), result[name], low, high))
    columns = ("", "mean", "95% from", "to")
    return table(f"{run}: {result['episodes']} episodes, input '{result['inputs']}'", columns, rows)
