"""`calibrate`: the radius of a run's checks and its intervals, measured anew on other episodes."""

from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from composite_flow.baselines.linear import LINEAR_FILE
from composite_flow.cli.options import DataFolder, RunFolder, Shared, refuse_existing
from composite_flow.cli.reporting import say, show, table
from composite_flow.errors import InputError
from composite_flow.model import MODEL_FILE
from composite_flow.runs import open_run
from composite_flow.training.recalibrate import recalibrate


def calibrate(
    run: RunFolder,
    data: DataFolder,
    /,
    out: Path,
    *,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Measure the radius of a run's checks, and how far its fused estimates err, on episodes that it did not see.

    The weights stay as they are. Where the world has changed, intervals then cover as often as they say.

    Args:
        run: folder of a finished run.
        data: folder of new episodes, used for nothing else.
        out: folder for the model with the new radius and intervals.
    """
    for name in (MODEL_FILE, LINEAR_FILE):
        refuse_existing(out / name, overwrite=shared.overwrite)
    opened = open_run(run, data)
    if opened.part == "test":
        raise InputError(f"{run} was trained on {data}; calibrate it on episodes that it did not see.")
    say(f"Measuring {run} on {data}; what was never run before is compiled first.")
    model = recalibrate(opened.model, opened.dataset)
    model.save(out, overwrite=shared.overwrite)
    if opened.kept is not None:  # what `evaluate` shows beside
        opened.kept.save(out, model.description["split"], overwrite=shared.overwrite)
    result: dict[str, Any] = {
        "model": str(out / MODEL_FILE),
        "radius_before": opened.model.radius,
        "radius": model.radius,
    }
    if model.fusion is not None and model.fusion.calibration is not None:
        result["calibration_episodes"] = model.fusion.calibration.num_episodes
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Calibrated {run} on {data}", ("", "value"), rows)], as_json=shared.json)
