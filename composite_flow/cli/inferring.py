"""What agents of `train-policy` infer by: a run that has learned, or one that learns first, in the policy's folder."""

from pathlib import Path
from typing import Any

import jax

from composite_flow.cli.reporting import progress_bar
from composite_flow.errors import InputError
from composite_flow.model import Model, load
from composite_flow.page.live.policy import PolicyPage
from composite_flow.policy.pretraining import check_pretraining, pretrained_in
from composite_flow.policy.saving import PolicySettings
from composite_flow.policy.setup import prepare
from composite_flow.problems import Problem


def check_trainable(world: Problem, given: PolicySettings) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        InputError: settings that go with no such input, or that exclude each other.
        MismatchError: a model of another problem.
    """
    if not given.pretraining.pretrain:
        prepare(world, given.training, jax.random.key(0), None if given.denoiser is None else load(given.denoiser))
        return
    check_pretraining(given.training, given.pretraining)
    if given.denoiser is not None:
        raise InputError("Give --denoiser, a run that has learned, or --pretrain, to learn one; not both.")


def model_of(
    world: Problem,
    settings: PolicySettings,
    out: Path,
    *,
    resume: bool,
    overwrite: bool,
    page: PolicyPage | None = None,
) -> Model | None:
    """What a run infers by: learned before, or now; None where it learns beside the policy, or nothing is inferred."""
    if settings.denoiser is not None:
        return load(settings.denoiser)
    if not settings.pretraining.pretrain:
        return None
    with progress_bar("learning to infer") as advance:

        def tell(step: int, total: int, loss: float) -> None:
            advance(step, total, f"loss {loss:.4f}")
            if page is not None:
                page.progress(step, total, f"loss {loss:.4f}. Agents learn to infer, before they learn to act.")

        told: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "progress": tell, "listener": page}
        return pretrained_in(out, world, settings.training, settings.pretraining, settings.seed, **told)
