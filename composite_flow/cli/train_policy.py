"""`train-policy`: let a team learn to act in a problem, by MAPPO."""

from pathlib import Path
from typing import Annotated

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.errors import InputError
from composite_flow.model import MODEL_FILE, Model, load
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import recent
from composite_flow.policy.pretraining import Pretraining, check_pretraining, pretrained
from composite_flow.policy.run import train_policy as train
from composite_flow.policy.saving import PolicySettings, start_or_resume
from composite_flow.policy.setup import prepare
from composite_flow.problems import Problem, problem_from_text

INFERENCE_FOLDER = "inference"
"""In a policy's run, the run of what its agents infer by."""
_PRETRAIN = 2**32 - 7  # folded into the key; no update has this number


def train_policy(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    /,
    out: Path,
    *,
    denoiser: Path | None = None,
    before: OmitArgPrefixes[Pretraining] = Pretraining(),  # noqa: B008 (frozen)
    training: OmitArgPrefixes[MappoConfig] = MappoConfig(),  # noqa: B008 (frozen)
    resume: Annotated[bool, arg(help="Go on with the run in --out, under the settings it was started with.")] = False,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Train a team's policy with MAPPO, for `collect --policy`.

    Writes policy.safetensors at the end, and policy_curves.csv while it learns; also TensorBoard's event files where
    tensorboardX is installed. An interrupted run goes on with --resume.

    Args:
        problem: such as sensor:5x5,targets=2, or MODULE:FACTORY,OPTION=VALUE for a world of your own.
        out: folder of the run.
        denoiser: folder of a trained model, by which agents infer the state; what is left out learns beside the policy,
            or with --pretrain before it.
    """
    world = problem_from_text(problem)
    given = PolicySettings(problem, training, shared.seed, None if denoiser is None else str(denoiser), before)
    if not resume:  # what cannot be trained leaves no record
        _check(world, given)
    settings = start_or_resume(out, given, resume=resume, overwrite=shared.overwrite)
    try:
        inferring = _model(world, settings, out, resume=resume, overwrite=shared.overwrite)
        with progress_bar("steps") as advance:
            result = train(
                world,
                settings.training,
                key=jax.random.key(settings.seed),
                denoiser=inferring,
                folder=out,
                resume=resume,
                overwrite=shared.overwrite,
                progress=lambda steps, total, rows: advance(steps, total, _note(rows)),
            )
    except KeyboardInterrupt:
        sentence = f"Interrupted; go on with: composite-flow train-policy {problem} --out {out} --resume"
        raise KeyboardInterrupt(sentence) from None
    summary = {
        "run": str(out),
        "mean_return": recent(result.curves, "return"),
        "win_rate": recent(result.curves, "win_rate"),
        **result.curves[-1],
    }
    rows = [(name.replace("_", " "), value) for name, value in summary.items()]
    show(summary, [table(f"Trained a policy for {problem}", ("", "value"), rows)], as_json=shared.json)


def _check(world: Problem, given: PolicySettings) -> None:
    """Refuse what cannot be trained."""
    if not given.pretraining.pretrain:
        prepare(world, given.training, jax.random.key(0), None if given.denoiser is None else load(given.denoiser))
        return
    check_pretraining(given.training, given.pretraining)
    if given.denoiser is not None:
        raise InputError("Give --denoiser, a run that has learned, or --pretrain, to learn one; not both.")


def _model(world: Problem, settings: PolicySettings, out: Path, *, resume: bool, overwrite: bool) -> Model | None:
    """What a run infers by: learned before, or now."""
    if settings.denoiser is not None:
        return load(settings.denoiser)
    if not settings.pretraining.pretrain:
        return None
    folder, key = out / INFERENCE_FOLDER, jax.random.fold_in(jax.random.key(settings.seed), _PRETRAIN)
    if resume and (folder / MODEL_FILE).exists():
        return load(folder)
    with progress_bar("learning to infer") as advance:
        return pretrained(
            world,
            settings.training,
            settings.pretraining,
            key=key,
            folder=folder,
            resume=resume,
            overwrite=overwrite,
            progress=lambda step, total, loss: advance(step, total, f"loss {loss:.4f}"),
        )


def _note(rows) -> str:
    """How the latest episodes went, and how fast."""
    if not rows:
        return "compiled"
    parts = []
    for name, title in (("return", "return"), ("win_rate", "win rate"), ("psnr", "PSNR")):
        value = recent(rows, name)
        if value is not None:
            parts.append(f"{title} {value:.3g}")
    return ", ".join([*parts, f"{rows[-1]['steps_per_second']:,.0f} steps/s"])
