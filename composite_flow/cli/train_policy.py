"""`train-policy`: let a team learn to act in a problem, by MAPPO."""

from functools import partial
from pathlib import Path
from typing import Annotated

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.inferring import check_trainable, model_of
from composite_flow.cli.live import PageOptions
from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import Advance, progress_bar, show, table
from composite_flow.page.live.policy import PolicyPage
from composite_flow.page.live.server import PageServer
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import Row, recent
from composite_flow.policy.pretraining import Pretraining
from composite_flow.policy.run import PolicyTraining
from composite_flow.policy.run import train_policy as train
from composite_flow.policy.saving import PolicySettings, start_or_resume
from composite_flow.problems import Problem, problem_from_text


def train_policy(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    /,
    out: Path,
    *,
    denoiser: Path | None = None,
    before: OmitArgPrefixes[Pretraining] = Pretraining(),  # noqa: B008 (frozen)
    training: OmitArgPrefixes[MappoConfig] = MappoConfig(),  # noqa: B008 (frozen)
    resume: Annotated[bool, arg(help="Go on with the run in --out, under the settings it was started with.")] = False,
    page: OmitArgPrefixes[PageOptions] = PageOptions(),  # noqa: B008 (frozen)
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
        check_trainable(world, given)
    with page.served() as server:
        settings = start_or_resume(out, given, resume=resume, overwrite=shared.overwrite)
        result = _trained(world, settings, out, resume, shared.overwrite, server)
    summary = {
        "run": str(out),
        "mean_return": recent(result.curves, "return"),
        "win_rate": recent(result.curves, "win_rate"),
        **result.curves[-1],
    }
    rows = [(name.replace("_", " "), value) for name, value in summary.items()]
    show(summary, [table(f"Trained a policy for {problem}", ("", "value"), rows)], as_json=shared.json)


def _trained(
    world: Problem, settings: PolicySettings, out: Path, resume: bool, overwrite: bool, server: PageServer | None
) -> PolicyTraining:
    """The policy and its curves, of which a page is told as well."""
    title = f"Training a policy for {settings.problem}"
    page = None if server is None else PolicyPage(server, title, world, settings.training)

    def tell(advance: Advance, steps: int, total: int, rows: list[Row]) -> None:
        advance(steps, total, _note(rows))
        if page is not None:
            page.progress(steps, total, _note(rows))

    options = {"resume": resume, "overwrite": overwrite}
    try:
        model = model_of(world, settings, out, page=page, **options)
        with progress_bar("steps") as advance:
            key = jax.random.key(settings.seed)
            told = {"progress": partial(tell, advance), "listener": page, "folder": out, **options}
            result = train(world, settings.training, key=key, denoiser=model, **told)
    except KeyboardInterrupt:
        sentence = f"Interrupted; go on with: composite-flow train-policy {settings.problem} --out {out} --resume"
        if page is not None:
            page.end(sentence)
        raise KeyboardInterrupt(sentence) from None
    if page is not None:
        page.end(f"The training has ended; its policy is in {out}.")
    return result


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
