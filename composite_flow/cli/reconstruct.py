"""`reconstruct`: write the states that a team infers, on data whose states are known or only wanted."""

from pathlib import Path

import jax
from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.files.estimates import ESTIMATES_FILE, writing_estimates
from composite_flow.runs import choose_steps, open_run


def reconstruct(
    run: RunFolder,
    data: DataFolder,
    /,
    out: Path,
    *,
    joint: int | None = None,
    samples: int = 16,
    sweeps: int = 6,
    stir: float = 0.0,
    radius: float | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Write the states that a team infers, with candidates and checks.

    `estimates.h5` holds, by step of the data: `estimates` and `candidates` in the state's own units, `shares` of the
    samples that reached each candidate, `accepted` (every sample of the estimate passed the checks).

    Args:
        run: folder of a finished run.
        data: folder of episodes; the run's test episodes of the data that it was trained on, of any other folder all.
        out: folder for estimates.h5.
        joint: joint histories to draw at random; all where not given.
        samples: noises per joint history.
        sweeps: passes through the agents.
        stir: noise that keeps flows from resting between states, such as 0.2 with 30 sweeps and more.
        radius: of the checks, in scaled units; the run's own where not given.
    """
    target = out / ESTIMATES_FILE
    refuse_existing(target, overwrite=shared.overwrite)
    opened = open_run(run, data)
    radius = opened.radius(radius)
    steps = choose_steps(opened.dataset, opened.dataset.num_steps if joint is None else joint, shared.seed)
    options = {"num_samples": samples, "num_sweeps": sweeps, "stir": stir}
    about = {"run": str(run), "data": str(data), "part": opened.part, "seed": shared.seed, **options}
    key, done, accepted = jax.random.key(shared.seed), 0, 0
    with progress_bar("joint histories") as advance, writing_estimates(target, len(steps)) as add:
        for part in opened.model.reconstruct_steps(
            opened.dataset, steps, key=key, radius=radius, about=about, **options
        ):
            add(part)
            done, accepted = done + len(part), accepted + int(part.accepted.sum())
            advance(done, len(steps))
    result = {"estimates": str(target), "joint_histories": done, "accepted": accepted / done}
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Reconstructed {part_in_words(opened)} of {data}", ("", "value"), rows)], as_json=shared.json)
