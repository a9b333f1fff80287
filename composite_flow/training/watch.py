"""What is measured while a run trains: composite diffusion, and how far answers are from exact ones, where known."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from composite_flow.belief import BeliefModel, exact_belief
from composite_flow.certificate.reliability import are_binary
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.run_split import choose_steps
from composite_flow.denoiser import Denoiser, IdealDenoiser
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.fuse import fuse_each
from composite_flow.metrics import exact_states, psnr
from composite_flow.problems.base import EnumerableProblem
from composite_flow.problems.kinds import listing_problem
from composite_flow.training.listener import SHOWN, Listener
from composite_flow.training.loss import ideal_loss

MOST_STATES = 2_000  # with at most so many, what is exact takes seconds for histories of one step
_WATCHED = 128  # joint histories of the validation part
_UNSEEN = 1e-6  # the share of the prior that states have together which training has not seen


def shown_steps(validation: HistoryDataset) -> tuple[Int[np.ndarray, " shown"], Int[np.ndarray, " shown"]]:
    """Of the watched joint histories those that a listener is told of: their steps, and their places."""
    watched = choose_steps(validation, _WATCHED, seed=0)
    places = np.unique(np.linspace(0, len(watched) - 1, SHOWN).astype(int))
    return watched[places], places


def composite_watch(
    validation: HistoryDataset, key: PRNGKeyArray, listener: Listener | None = None
) -> Callable[[Denoiser, int], dict[str, float]]:
    """For `fit`'s `evaluate`: a function that measures composite diffusion on some joint histories of validation."""
    joint, shown = validation.joint(choose_steps(validation, _WATCHED, seed=0)), shown_steps(validation)[1]
    truth = joint.states[:, None]

    def watch(denoiser: Denoiser, step: int) -> dict[str, float]:
        samples = reconstruct_batch(denoiser, joint.histories, key=key, num_samples=2).samples
        if listener is not None:
            some = np.asarray(samples)[shown]
            listener.infers("composite diffusion", step, some.mean(axis=1), some.var(axis=1))
        quality = {"psnr_composite": float(psnr(samples, truth))}
        if are_binary(truth):
            quality["exact_rate_composite"] = float(jnp.mean(exact_states(samples, truth)))
        return quality

    return watch


def fused_watch(validation: HistoryDataset, listener: Listener) -> Callable[[Answers, int], dict[str, float]]:
    """For `fit`'s `evaluate_answers`: a function that tells a listener what whole teams infer together."""
    joint, shown = validation.joint(choose_steps(validation, _WATCHED, seed=0)), shown_steps(validation)[1]
    everyone = jnp.ones(joint.histories.shape[:2], bool)

    def watch(answers: Answers, step: int) -> dict[str, float]:
        found = fuse_each(answers, joint.histories, everyone)
        listener.infers("fusion", step, np.asarray(found.mean)[shown], np.asarray(found.variance)[shown])
        return {}

    return watch


def exact_watch(
    description: dict[str, Any], train: HistoryDataset, validation: HistoryDataset
) -> Callable[[Answers, int], dict[str, float]] | None:
    """For `fit`'s `evaluate_answers`: how far fused means of whole teams are from the exact joint means.

        excess_fusion = E ‖ŝ − E[s | τ]‖²,  by which the squared error is above that of the exact mean

    Returns None for longer histories or too many states to list.
    """
    problem = _listed(description, train)
    if problem is None:
        return None
    joint = validation.joint(choose_steps(validation, _WATCHED, seed=0))
    frequencies = train.state_frequencies(problem.states())
    start = (1.0 - _UNSEEN) * frequencies + _UNSEEN / problem.num_states
    belief = exact_belief(problem, joint.structured, start=start, joint=True)
    exact = validation.scaling.scale(belief.probabilities @ belief.states)
    everyone = jnp.ones(joint.histories.shape[:2], bool)

    def watch(answers: Answers, step: int) -> dict[str, float]:
        means = fuse_each(answers, joint.histories, everyone).mean
        return {"excess_fusion": float(jnp.mean(jnp.sum((means - exact) ** 2, axis=1)))}

    return watch


def answers_watch(
    description: dict[str, Any], train: HistoryDataset, validation: HistoryDataset, listener: Listener | None
) -> Callable[[Answers, int], dict[str, float]] | None:
    """`exact_watch`, where it can be had, and `fused_watch`, where somebody listens; None for neither."""
    exact = exact_watch(description, train, validation)
    shown = None if listener is None else fused_watch(validation, listener)
    if exact is None or shown is None:
        return exact or shown
    return lambda answers, step: {**exact(answers, step), **shown(answers, step)}


def loss_floor(description: dict[str, Any], train: HistoryDataset, validation: HistoryDataset) -> float | None:
    """The ideal denoiser's loss on the validation part; None for longer histories or too many states to list."""
    problem = _listed(description, train)
    if problem is None:
        return None
    belief = BeliefModel(problem, train.layout, start=train.state_frequencies(problem.states()))
    return ideal_loss(IdealDenoiser(belief), validation).value


def _listed(description: dict[str, Any], train: HistoryDataset) -> EnumerableProblem | None:
    """The problem, if what is exact can be had in seconds.

    Hidden states that share their features are not told apart by how often each occurs in training: then it is None.
    """
    problem = listing_problem(description) if train.layout.length == 1 else None
    if problem is None or problem.num_states > MOST_STATES:
        return None
    return problem if len(np.unique(problem.states(), axis=0)) == problem.num_states else None
