"""`train`: fit the shared denoiser to a folder of episodes, and keep with it all that `evaluate` needs."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from tyro.conf import OmitArgPrefixes, arg

from composite_flow.belief import BeliefModel
from composite_flow.commands.options import DataFolder, Shared
from composite_flow.commands.runs import choose_steps, fingerprint, start_or_resume
from composite_flow.composite import reconstruct_batch
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.denoiser import Denoiser, IdealDenoiser
from composite_flow.deviation import measured_radius
from composite_flow.loss import ideal_loss
from composite_flow.metrics import exact_states, psnr
from composite_flow.problems import EnumerableProblem, problem_from_description
from composite_flow.reporting import progress_bar, show, table
from composite_flow.training import TrainingConfig, fit
from composite_flow.worth import are_binary

MOST_STATES = 2_000  # an ideal loss takes seconds up to here, with histories of one step
RADIUS_PAIRS = 4_096
_JOINT_HISTORIES = 128  # validation joint histories in each evaluation during training


def train(
    data: DataFolder,
    /,
    out: Path,
    *,
    training: OmitArgPrefixes[TrainingConfig] = TrainingConfig(),  # noqa: B008: frozen
    history: int = 1,
    withhold_states: float = 0.0,
    resume: Annotated[bool, arg(help="Go on with the run in --out, under its own settings.")] = False,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008: frozen
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
    settings = {**asdict(training), "history": history, "withhold_states": withhold_states, "seed": shared.seed}
    defaults = {**asdict(TrainingConfig()), "history": 1, "withhold_states": 0.0, "seed": 0}
    episodes = Episodes.load(data)
    settings = start_or_resume(out, settings, defaults, resume=resume, overwrite=shared.overwrite)
    try:
        model = train_run(episodes, settings, out, resume=resume, overwrite=shared.overwrite)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; go on with: composite-flow train {data} --out {out} --resume"
        ) from None
    result = {"run": str(out), "radius": model.radius, **model.curves[-1]}
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Trained {out}", ("", "value"), rows)], as_json=shared.json)


def train_run(episodes: Episodes, settings: dict[str, Any], folder: Path | None, *, resume=False, overwrite=False):
    """Split, fit, measure the radius, and save the model with its record.

    Args:
        episodes: all of the data.
        settings: those of `TrainingConfig`, and `history`, `withhold_states` and `seed`.
        folder: of the run; None keeps the model in memory.
        resume: go on with the folder's run.
        overwrite: replace the folder's run.

    Returns:
        The model; `.description` says what it was trained on and which episodes were left for testing.
    """
    settings = dict(settings)
    length, withheld, seed = (settings.pop(name) for name in ("history", "withhold_states", "seed"))
    key_split, key_fit, key_watch, key_radius = jax.random.split(jax.random.key(seed), 4)
    parts = HistoryDataset(episodes, length).split(key=key_split, withhold_states=withheld)
    training, validation, test = parts
    with progress_bar("training") as advance:
        model = fit(
            training,
            validation,
            TrainingConfig(**settings),
            key=key_fit,
            folder=folder,
            resume=resume,
            overwrite=overwrite,
            evaluate=composite_watch(validation, key_watch),
            progress=lambda step, total, loss: advance(step, total, f"loss {loss:.4f}"),
            ideal_loss=loss_floor(episodes, training, validation),
        )
    description = {
        **model.description,
        "problem": episodes.description,
        "settings": {**settings, "history": length, "withhold_states": withheld, "seed": seed},
        "split": {
            "fingerprint": fingerprint(episodes),
            "test": test.episode_ids.tolist(),
            "withheld_states": None if test.withheld_states is None else test.withheld_states.tolist(),
        },
    }
    radius = validation_radius(model.denoiser, validation, key_radius)
    model = replace(model, description=description, radius=radius, state_names=tuple(episodes.state_names))
    if folder is not None:
        model.save(folder, overwrite=True)
    return model


def composite_watch(validation: HistoryDataset, key: PRNGKeyArray):
    """A function for `fit` that measures composite diffusion on some joint histories of the validation part."""
    joint = validation.joint(choose_steps(validation, _JOINT_HISTORIES, seed=0))
    binary = are_binary(joint.states)

    def watch(denoiser: Denoiser, step: int) -> dict[str, float]:
        samples = reconstruct_batch(denoiser, joint.histories, key=key, num_samples=2).samples
        rates = {"psnr_composite": float(psnr(samples, joint.states[:, None]))}
        if binary:
            rates["exact_rate_composite"] = float(jnp.mean(exact_states(samples, joint.states[:, None])))
        return rates

    return watch


def loss_floor(episodes: Episodes, training: HistoryDataset, validation: HistoryDataset) -> float | None:
    """The ideal denoiser's loss on the validation part, where the problem lists few enough states; else None."""
    if not episodes.description or training.layout.length > 1:
        return None
    problem = problem_from_description(episodes.description)
    if not isinstance(problem, EnumerableProblem) or problem.num_states > MOST_STATES:
        return None
    start = training.state_frequencies(problem.states())
    ideal = IdealDenoiser(BeliefModel(problem, training.layout, start=start))
    return ideal_loss(ideal, validation).value


def validation_radius(denoiser: Denoiser, validation: HistoryDataset, key: PRNGKeyArray) -> float:
    """D_φ: the largest deviation over pairs drawn from the validation part."""
    histories, states = validation.sample(key, RADIUS_PAIRS)
    return measured_radius(denoiser, histories, states)


