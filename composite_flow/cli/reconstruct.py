"""`reconstruct`: write the states that a team infers, on data whose states are known or only wanted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.data.run_split import choose_steps
from composite_flow.errors import InputError
from composite_flow.files.estimates import ESTIMATES_FILE, Estimates, writing_estimates
from composite_flow.runs import RunData, open_run

By = Literal["composite", "fusion", "chain", "samples"]
_DEFAULTS: dict[str, Any] = {"num_samples": 16, "num_sweeps": 6, "stir": 0.0}


def reconstruct(
    run: RunFolder,
    data: DataFolder,
    /,
    out: Path,
    *,
    by: By | None = None,
    joint: int | None = None,
    samples: int = _DEFAULTS["num_samples"],
    sweeps: int = _DEFAULTS["num_sweeps"],
    stir: float = _DEFAULTS["stir"],
    radius: float | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Write the states that a team infers: with candidates and checks, with variances, or with joint samples.

    `estimates.h5` holds, by step of the data, `estimates` in the state's own units. By composite diffusion: also
    `candidates`, `shares` of the samples that reached each of them, and `accepted` (every sample of the estimate passed
    the checks). By fusion: also `variances`, as the agents claim them. By the gated chain: nothing else. By samples of
    what the team knows together: also `samples`, and the estimates are their means.

    Args:
        run: folder of a finished run.
        data: folder of episodes; the run's test episodes of the data that it was trained on, of any other folder all.
        out: folder for estimates.h5.
        by: how the team infers; by composite diffusion where the run learned a denoiser, else by fusion.
        joint: joint histories to draw at random; all where not given.
        samples: noises per joint history of composite diffusion, or joint samples.
        sweeps: passes through the agents; this and the next two of composite diffusion alone.
        stir: noise that keeps flows from resting between states, such as 0.2 with 30 sweeps and more.
        radius: of the checks, in scaled units; the run's own where not given.
    """
    target = out / ESTIMATES_FILE
    refuse_existing(target, overwrite=shared.overwrite)
    opened = open_run(run, data)
    chosen_by_itself = by is None
    by = by or ("composite" if opened.model.has_denoiser else "fusion")
    steps = choose_steps(opened.dataset, opened.dataset.num_steps if joint is None else joint, shared.seed)
    about = {"run": str(run), "data": str(data), "part": opened.part, "seed": shared.seed, "by": by}
    options = {"num_samples": samples, "num_sweeps": sweeps, "stir": stir}
    infer = _by_composite if by == "composite" else _by_fusion
    parts = infer(opened, steps, about, radius, options)
    done, accepted = 0, 0
    with progress_bar("joint histories") as advance, writing_estimates(target, len(steps)) as add:
        for part in parts:
            add(part)
            done += len(part)
            accepted += 0 if part.accepted is None else int(part.accepted.sum())
            advance(done, len(steps))
    result: dict[str, Any] = {"estimates": str(target), "by": by, "joint_histories": done}
    if by == "composite":
        result["accepted"] = accepted / done
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    if chosen_by_itself and by == "composite" and opened.model.fusion is not None:
        rows.append(("learned as well", "--by fusion, in one message an agent; `evaluate` tells which errs less"))
    show(result, [table(f"Reconstructed {part_in_words(opened)} of {data}", ("", "value"), rows)], as_json=shared.json)


def _by_composite(opened: RunData, steps, about: dict[str, Any], radius, options) -> Iterator[Estimates]:
    """Composite diffusion with its checks."""
    key = jax.random.key(about["seed"])
    if opened.model.has_denoiser:
        radius = opened.radius(radius)
    about = {**about, **options}
    return opened.model.reconstruct_steps(opened.dataset, steps, key=key, radius=radius, about=about, **options)


def _by_fusion(opened: RunData, steps, about: dict[str, Any], radius, options) -> Iterator[Estimates]:
    """By summed answers, the chain or joint samples; options that would change nothing are refused."""
    by, read = about["by"], {"num_samples"} if about["by"] == "samples" else set()
    if radius is not None or any(options[name] != _DEFAULTS[name] for name in options if name not in read):
        unread = "--sweeps, --stir and --radius" if read else "--samples, --sweeps, --stir and --radius"
        raise InputError(f"{unread} are of composite diffusion, not of --by {by}; leave them out.")
    about, key = {**about, **{name: options[name] for name in read}}, jax.random.key(about["seed"])
    return opened.model.fuse_steps(
        opened.dataset, steps, about=about, by=by, num_samples=options["num_samples"], key=key
    )
