"""How good a model is on episodes it has not seen: composite diffusion and its checks, baselines, and fusion."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Unpack, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.certificate.checks import Certificate, certify_batch
from composite_flow.certificate.reliability import acceptance, are_binary, right_in_words, right_samples
from composite_flow.composite.plan import speaking_order
from composite_flow.composite.reconstruct import Estimate, reconstruct_batch
from composite_flow.composite.sampling import Sampling, SamplingOptions, sampling_from
from composite_flow.data.dataset import HistoryDataset
from composite_flow.denoiser import Denoiser, NoDenoiser
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.evaluation import FusionEvaluation, evaluate_fusion
from composite_flow.metrics import exact_states, psnr
from composite_flow.model import Model


@runtime_checkable
class Evaluated(Protocol):
    """What `evaluate` needs of a model."""

    @property
    def denoiser(self) -> Denoiser:
        """The shared denoiser."""
        ...

    @property
    def radius(self) -> float | None:
        """D_φ; None where it was not measured."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Figures of merit over all samples, rejected ones included, and what they were computed from.

    Attributes:
        psnr_composite: of composite diffusion, in decibels.
        psnr_individual: of individual flows, averaged over agents within the mean squared error.
        exact_rate_composite: share of the samples that are the true state once thresholded at 0.5; None where
            states are not binary.
        exact_rate_individual: the same for individual flows.
        exact_rate_unseen_states: of composite diffusion in states withheld from training; None where none was.
        accepted_share: share of the samples that pass all checks.
        wrong_among_accepted: share of these that are not right; None where none passes.
        right_means: when a sample counts as right, in words.
        right_by_guessing: share of the steps at which the mean of these states would count as right.
        denoiser_calls: per joint history, over its samples; the same for every baseline.
        baselines: psnr, exact_rate and denoiser_calls of each, by name.
        steps: the dataset's steps that were drawn.
        states: the true states there, scaled.
        fusion: of the same joint histories; None where the model did not learn it.
        estimates: composite diffusion's, batch axis steps.
        certificates: theirs.
    """

    psnr_composite: float
    psnr_individual: float
    exact_rate_composite: float | None
    exact_rate_individual: float | None
    exact_rate_unseen_states: float | None
    accepted_share: float
    wrong_among_accepted: float | None
    right_means: str
    right_by_guessing: float
    denoiser_calls: int
    baselines: dict[str, dict[str, Any]]
    steps: Int[Array, " joint"]
    states: Float[Array, "joint state"]
    estimates: Estimate
    certificates: Certificate
    fusion: FusionEvaluation | None = None

    def summary(self) -> dict[str, Any]:
        """The figures alone, ready for JSON."""
        names = [name for name in self.__dataclass_fields__ if name not in _SOURCES]
        found = {name: getattr(self, name) for name in names}
        return found if self.fusion is None else {**found, "fusion": asdict(self.fusion)}


_SOURCES = ("steps", "states", "estimates", "certificates", "fusion")


def evaluate(
    model: Evaluated,
    dataset: HistoryDataset,
    *,
    key: PRNGKeyArray,
    num_joint: int = 200,
    radius: float | None = None,
    sampling: Sampling | None = None,
    **options: Unpack[SamplingOptions],
) -> Evaluation:
    """Measure a model on joint histories drawn from a dataset, without replacement.

    Args:
        model: has `denoiser` and `radius`.
        dataset: usually the test part; its `unseen` part is measured on its own as well.
        key: fixes the steps, noises and orders.
        num_joint: joint histories, at most; as many of the unseen ones.
        radius: D_φ for the checks, by default the model's own.
        sampling: of composite diffusion; by default `Sampling(num_samples=4)`. Baselines use what of it they can.
        options: fields of `Sampling` by name; they replace those of `sampling`.

    Raises:
        MismatchError: if the model's state has another size than the dataset's.
        InputError: if its histories cannot be read by the model, there is no radius, or an option cannot be used.
    """
    sampling = sampling_from(sampling or Sampling(num_samples=4), options)
    if sampling.tolerance:
        raise InputError("Baselines make every sweep, and are to make as many calls: leave out `tolerance`.")
    denoiser, radius = model.denoiser, model.radius if radius is None else radius
    if isinstance(denoiser, NoDenoiser):
        denoiser.refuse()
    if radius is None:
        raise InputError("This model's radius was not measured; give one to check its samples with.")
    if denoiser.state_size != dataset.state_size:
        raise MismatchError(
            f"The model's states have {denoiser.state_size} features and the data's {dataset.state_size}; "
            "use a model that was trained on this problem."
        )
    key_steps, key_flow, key_unseen = jax.random.split(key, 3)
    steps, histories, states = draw_joint(dataset, key_steps, num_joint)
    there = dataset.layout.in_place_of_absent(histories)
    estimates = reconstruct_batch(denoiser, there, key=key_flow, sampling=sampling)
    certificates = certify_batch(denoiser, there, estimates, radius=radius)
    calls = int(estimates.denoiser_calls[0])
    found = _baseline_samples(denoiser, there, key_flow, sampling)
    baselines = {name: {**scores_of(samples, states), "denoiser_calls": calls} for name, samples in found.items()}
    composite, individual = scores_of(estimates.samples, states), baselines["individual_flow"]
    accepted = acceptance(certificates, right_samples(estimates.samples, states, radius))
    return Evaluation(
        psnr_composite=composite["psnr"],
        psnr_individual=individual["psnr"],
        exact_rate_composite=composite["exact_rate"],
        exact_rate_individual=individual["exact_rate"],
        exact_rate_unseen_states=_unseen_rate(denoiser, dataset, key_unseen, num_joint, sampling),
        accepted_share=accepted["accepted_share"],
        wrong_among_accepted=accepted["wrong_among_accepted"],
        right_means=right_in_words(states, radius),
        right_by_guessing=_right_by_guessing(states, radius),
        denoiser_calls=calls,
        baselines=baselines,
        steps=steps,
        states=states,
        estimates=estimates,
        certificates=certificates,
        fusion=_of_fusion(model, histories, states, key_unseen),
    )


def _right_by_guessing(states: Float[Array, "joint state"], radius: float) -> float:
    """How often the mean of these states would count as right."""
    guesses = jnp.broadcast_to(jnp.mean(states, axis=0), states.shape)
    return float(jnp.mean(right_samples(guesses[:, None], states, radius)))


def _of_fusion(model: Evaluated, histories, states, key: PRNGKeyArray) -> FusionEvaluation | None:
    """Of a model that learned it."""
    answers = model.answers if isinstance(model, Model) else None
    return None if answers is None else evaluate_fusion(answers, histories, states, key=key)


def draw_joint(dataset: HistoryDataset, key: PRNGKeyArray, num_joint: int):
    """Steps, joint histories and states of up to `num_joint` different steps."""
    steps = jax.random.choice(key, dataset.steps, (min(num_joint, dataset.num_steps),), replace=False)
    joint = dataset.joint(np.asarray(steps))
    return steps, joint.histories, joint.states


def _baseline_samples(denoiser, histories, key, sampling: Sampling) -> dict[str, Float[Array, "joint samples state"]]:
    """Where each baseline ends, by the same agents with as many calls and the same noise."""
    agents = sorted(speaking_order(histories.shape[1], sampling.order, sampling.participants))
    options = {"num_samples": sampling.num_samples, "num_sweeps": sampling.num_sweeps, "sigma": sampling.sigma}
    heard = histories[:, jnp.asarray(agents, jnp.int32)]
    return {name: baseline_batch(flow, denoiser, heard, key=key, **options) for name, flow in BASELINES.items()}


def scores_of(samples: Float[Array, "joint samples state"], states: Float[Array, "joint state"]) -> dict[str, Any]:
    """PSNR and, where states are binary, the share of samples that are exact."""
    truth = states[:, None]
    exact_rate = float(exact_states(samples, truth).mean()) if are_binary(states) else None
    return {"psnr": float(psnr(samples, truth)), "exact_rate": exact_rate}


def _unseen_rate(denoiser, dataset: HistoryDataset, key, num_joint: int, sampling: Sampling) -> float | None:
    """Exact rate of composite diffusion in the states withheld from training."""
    if dataset.unseen is None:
        return None
    key_steps, key_flow = jax.random.split(key)
    _, histories, states = draw_joint(dataset.unseen, key_steps, num_joint)
    there = dataset.layout.in_place_of_absent(histories)
    estimates = reconstruct_batch(denoiser, there, key=key_flow, sampling=sampling)
    return scores_of(estimates.samples, states)["exact_rate"]
