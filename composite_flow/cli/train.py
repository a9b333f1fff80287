"""`train`: fit the shared denoiser to a folder of episodes, and keep with it all that `evaluate` needs."""

from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from composite_flow.cli.options import DataFolder, Shared
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.data import Episodes
from composite_flow.runs import RunSettings, start_or_resume, train_run
from composite_flow.training.fit import TrainingConfig


def train(
    data: DataFolder,
    /,
    out: Path,
    *,
    training: OmitArgPrefixes[TrainingConfig] = TrainingConfig(),  # noqa: B008 (frozen)
    history: int = 1,
    withhold_states: float = 0.0,
    resume: Annotated[bool, arg(help="Go on with the run in --out, under the settings it was started with.")] = False,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Train a denoiser on a folder of episodes.

    Four fifths of the episodes are trained on; a tenth measures progress and the radius of the checks; the last tenth
    is left for `evaluate`. An interrupted run goes on with --resume.

    Args:
        data: folder of episodes, as `collect` writes it.
        out: folder of the run.
        history: how many steps each agent's history reaches back (H), the present one included.
        withhold_states: share of the distinct states that training never sees.
    """
    given = RunSettings(training, history, withhold_states, shared.seed)
    episodes = Episodes.load(data)
    settings = start_or_resume(out, given, resume=resume, overwrite=shared.overwrite)
    try:
        with progress_bar("training") as advance:
            model = train_run(
                episodes,
                settings,
                out,
                resume=resume,
                overwrite=shared.overwrite,
                progress=lambda step, total, loss: advance(step, total, f"loss {loss:.4f}"),
            )
    except KeyboardInterrupt:
        sentence = f"Interrupted; go on with: composite-flow train {data} --out {out} --resume"
        raise KeyboardInterrupt(sentence) from None
    result = {"run": str(out), "radius": model.radius, **model.curves[-1]}
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Trained {out}", ("", "value"), rows)], as_json=shared.json)
