"""Ways to infer the state side by side: how good each is on the same joint histories, and what it costs.

Composite diffusion and its baselines, what was learned of fusion, linear regressions, and the training mean, which asks
nobody. Some of them also feature by feature, in the state's own units.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.analysis.feature_errors import FeatureErrors, feature_errors
from composite_flow.analysis.filtered import filtered_at
from composite_flow.analysis.risk_coverage import RiskCoverage, risk_coverage
from composite_flow.analysis.telling_apart import ToldApart, tell_apart
from composite_flow.baselines.linear import LinearEstimates
from composite_flow.baselines.ridge import known_steps
from composite_flow.composite.rule import DEFINITION_6, ParallelMean, message_bytes
from composite_flow.data.dataset import HistoryDataset
from composite_flow.evaluation import Evaluation, scores_of
from composite_flow.fusion.chain_estimate import pass_on, random_orders
from composite_flow.fusion.evaluation import FusionEvaluation
from composite_flow.fusion.features import find_types
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.history import HistoryLayout
from composite_flow.model import Model

JOINT_SAMPLES = 16
_SAMPLER_STEPS = 30  # calls of the team denoiser for each of them
_NO_LINEAR = "Linear regressions are kept by `train`, and this run has none; give the data that it was trained on."


@dataclass(frozen=True)
class Way:
    """How good one way to infer the state is, and what one joint history costs.

    Attributes:
        psnr: in decibels.
        exact_rate: share of the estimates that are the true state, thresholded at 0.5; None where none is binary.
        calls: of networks; a linear map counts as one.
        messages: that agents send.
        message_bytes: size of one of them, in 32-bit numbers.
    """

    psnr: float
    exact_rate: float | None
    calls: int
    messages: int
    message_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Ways by their names.

    Attributes:
        ways: what was measured.
        left_out: what was not, and why.
        errors: of some of them, feature by feature.
        apart: which of them these joint histories tell apart, and which features nobody knows.
        answering: what is gained where fusion answers only if it is sure, in the features that are known; None where it
            was not learned.
        sample_spread: of joint samples √((1 + 1/S) Σ σ²/Σ e²), with σ² the variance of S samples of a joint history
            and e the error of their mean: 1 of samples of the exact posterior, less where they are surer than right.
    """

    ways: dict[str, Way]
    left_out: dict[str, str]
    errors: FeatureErrors
    apart: ToldApart
    answering: RiskCoverage | None = None
    sample_spread: float | None = None


def compare_ways(
    model: Model,
    dataset: HistoryDataset,
    steps: Int[np.ndarray, " joint"],
    *,
    evaluation: Evaluation | None,
    fusion: FusionEvaluation | None,
    linear: LinearEstimates | None,
    key: PRNGKeyArray,
) -> Comparison:
    """Measure all ways on the same joint histories.

    Args:
        model: what was learned.
        dataset: of the joint histories, not used in training.
        steps: of these.
        evaluation: of the denoiser there; None where the model has none.
        fusion: of the answers there; None where the model has none.
        linear: from the training data; None where they are not at hand.
        key: draws the orders of the chain and the joint samples.
    """
    joint = dataset.joint(steps)
    ways = {} if evaluation is None else composite_ways(evaluation)
    estimates = {} if evaluation is None else {"composite": evaluation.estimates.samples}
    types, fused, spread = find_types(np.asarray(joint.states), dataset.windows.declared_types), None, None
    if model.fusion is not None and fusion is not None:
        found, spread = fusion_ways(model.fusion, fusion, joint.histories, joint.states, key=key)
        ways |= found
        ways |= filter_way(model.fusion, dataset, steps, joint.states, key=jax.random.fold_in(key, 1))
        types = model.fusion.answers.prior.types
        fused = model.fuse_batch(joint.histories, check=model.fusion.is_watched)
        estimates["fusion"] = model.scaling.scale(fused.mean)[:, None]
        estimates["constant"] = jnp.broadcast_to(model.fusion.answers.prior.mean, joint.states.shape)[:, None]
    estimates |= {} if linear is None else linear.estimates(dataset, steps)
    ways |= linear_ways(estimates, joint.states, dataset.layout)
    left_out = _NO_LINEAR if linear is None else linear.left_out
    episodes = np.asarray(dataset.windows.episode_of_step)[steps]
    errors = feature_errors(estimates, joint.states, types, model.scaling, model.state_names, fused, episodes)
    apart = tell_apart(estimates, joint.states, model.state_names, errors.used, episodes)
    whole = known_steps(dataset, steps) == dataset.layout.length
    answering = None if fused is None else _answering(model, fused, joint.states, apart.known_places, whole, episodes)
    return Comparison(ways, {"ridge": left_out} if left_out else {}, errors, apart, answering, spread)


def _answering(
    model: Model,
    fused: TeamEstimate,
    states: Float[Array, "joint state"],
    known: Sequence[int],
    whole: Bool[np.ndarray, " joint"],
    episodes: Int[np.ndarray, " joint"],
) -> RiskCoverage:
    """Of ‖ŝ − s‖ over known features, scaled, in the order of what fusion claims; `whole` says where histories are."""
    apart = np.asarray(model.scaling.scale(fused.mean) - states, np.float64)
    claimed = model.scaling.scale_variances(np.asarray(fused.variance, np.float64))
    errors, uncertainty = (np.sqrt(np.sum(part[:, list(known)], axis=1)) for part in (apart**2, claimed))
    if fused.doubts is None:
        return risk_coverage(errors, uncertainty)
    accepted = np.asarray(fused.accepted)
    reasons = Counter(verdict.reason for verdict in fused.verdicts(np.flatnonzero(~accepted).tolist()))
    told = {"reasons": dict(reasons.most_common()), "refused_early": int(np.sum(~accepted & ~whole))}
    told["refused_episodes"] = len(np.unique(episodes[~accepted]))
    return replace(risk_coverage(errors, uncertainty, accepted), **told)


def composite_ways(evaluation: Evaluation) -> dict[str, Way]:
    """Composite diffusion and the baselines that use its denoiser; a message carries all samples."""
    num_samples, size = evaluation.estimates.samples.shape[-2:]
    num_agents, hops = evaluation.estimates.order.shape[-1], int(evaluation.estimates.messages[0])
    state_bytes = num_samples * message_bytes(DEFINITION_6, size)
    costs = {  # messages, bytes
        "individual_flow": (0, 0),
        "one_step": (num_agents, state_bytes),
        "mean_of_individual_flows": (num_agents, state_bytes),
        "parallel_mean": (hops, num_samples * message_bytes(ParallelMean(), size)),
    }
    psnr_composite, calls = evaluation.psnr_composite, evaluation.denoiser_calls
    found = {"composite": Way(psnr_composite, evaluation.exact_rate_composite, calls, hops, state_bytes)}
    for name, scores in evaluation.baselines.items():
        found[name] = Way(scores["psnr"], scores["exact_rate"], scores["denoiser_calls"], *costs[name])
    return found


def fusion_ways(
    fusion: LearnedFusion,
    measured: FusionEvaluation,
    histories: Float[Array, "joint agents history"],
    states: Float[Array, "joint state"],
    *,
    key: PRNGKeyArray,
) -> tuple[dict[str, Way], float | None]:
    """Whole teams by summed answers, and by the chain and joint samples where these were learned; the samples' spread.

    Args:
        fusion: what was learned.
        measured: of the answers, on the same joint histories.
        histories, states: not used in training; the states scaled.
        key: draws the orders of the chain and the samples.
    """
    key_orders, key_samples = jax.random.split(key)
    num_agents = histories.shape[1]
    found = {"fusion": Way(measured.psnr, measured.exact_rate, num_agents, measured.messages, measured.message_bytes)}
    if (chain := fusion.chain) is not None:
        means = pass_on(chain, histories, random_orders(key_orders, len(states), num_agents))
        found["chain"] = _way(means, states, num_agents, num_agents, message_bytes(chain.rule, chain.state_size))
    spread = None
    if fusion.team_denoiser is not None:
        samples = fusion.sample_each(histories, JOINT_SAMPLES, key_samples)
        means, spread = jnp.mean(samples, axis=1), spread_of(samples, states)
        calls, sent = num_agents + JOINT_SAMPLES * _SAMPLER_STEPS, 4 * fusion.team_denoiser.values_sent
        found["mean_of_joint_samples"] = _way(means, states, calls, num_agents, sent)
    return found, spread


def spread_of(samples: Float[Array, "joint samples state"], states: Float[Array, "joint state"]) -> float | None:
    """`Comparison.sample_spread`; None where no mean errs."""
    error = float(jnp.sum((jnp.mean(samples, axis=1) - states) ** 2))
    variance = float(jnp.sum(jnp.var(samples, axis=1, ddof=1)))
    return float(np.sqrt((1 + 1 / samples.shape[1]) * variance / error)) if error > 0 else None


def filter_way(
    fusion: LearnedFusion,
    dataset: HistoryDataset,
    steps: Int[np.ndarray, " joint"],
    states: Float[Array, "joint state"],
    *,
    key: PRNGKeyArray,
) -> dict[str, Way]:
    """Whole teams by what they carried from their episodes' first steps to these; nothing where it was not learned."""
    if (team_filter := fusion.over_time) is None:
        return {}
    means, agents = filtered_at(team_filter, dataset, steps, key=key), dataset.num_agents
    return {"filter": _way(means, states, agents, agents, 4 * team_filter.values_sent)}


def linear_ways(
    estimates: Mapping[str, Float[Array, "joint _ state"]], states: Float[Array, "joint state"], layout: HistoryLayout
) -> dict[str, Way]:
    """Linear regressions and the constant, as far as they are there.

    An agent's own estimate is scored as individual flows are: averaged over agents within the mean squared error.

    Args:
        estimates: scaled, by name.
        states: the truth, scaled.
        layout: of the histories, which agents send where all are read.
    """
    num_agents = layout.num_agents
    costs = {
        "ridge_of_all_histories": (1, num_agents, 4 * (layout.size - num_agents)),
        "ridge_of_own_history": (num_agents, 0, 0),
        "constant": (0, 0, 0),
    }
    return {
        name: Way(**scores_of(estimates[name], states), **_costs(*cost))
        for name, cost in costs.items()
        if name in estimates
    }


def _way(means: Float[Array, "joint state"], states: Float[Array, "joint state"], *cost: int) -> Way:
    """Of one estimate for each joint history."""
    return Way(**scores_of(means[:, None], states), **_costs(*cost))


def _costs(calls: int, messages: int, message_bytes: int) -> dict[str, int]:
    return {"calls": calls, "messages": messages, "message_bytes": message_bytes}
