"""What a run of MAPPO settles before it starts: what the actor sees, and from which denoiser."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.plain_json import jsonable
from composite_flow.model import Model
from composite_flow.network import Network
from composite_flow.policy.belief import belief_of
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inference import Inference
from composite_flow.policy.inputs import PolicyInput, input_class, policy_input
from composite_flow.policy.talking import talk_of
from composite_flow.policy.team_samples import sampler_of
from composite_flow.problems.base import Problem
from composite_flow.problems.same_description import check_same_description
from composite_flow.training.loss import sample_pairs

PROBE_EPISODES = 64
"""Under random actions, which tell the ranges of states and histories."""
_PROBE_PAIRS = 4096


class Setup(eqx.Module):
    """What stays as it is while a run learns.

    Attributes:
        inputs: what the actor sees.
        denoiser: that it starts from, or keeps; None where a new one learns, or none is needed.
        history_range: smallest and largest value of each history column, for a new one.
    """

    inputs: PolicyInput
    denoiser: Any = None
    history_range: tuple[Float[Array, " history"], ...] = ()


def prepare(problem: Problem, config: MappoConfig, key: PRNGKeyArray, model: Model | None = None) -> Setup:
    """Settle what the actor sees.

    Where a new denoiser is to learn, some episodes under random actions tell the ranges of states and histories.

    Args:
        problem: the world.
        config: settings of the run.
        key: of the episodes.
        model: whose denoiser the run starts from.

    Raises:
        InputError: a denoiser that is not needed or missing, or that cannot learn.
        MismatchError: it is of another problem or length of histories.
    """
    kind, settings, chosen = config.inputs, config.inference, input_class(config.inputs)
    if settings.lost and not (chosen.together or config.samples_of == "team"):
        sent = "no message is ever lost" if chosen.talks else "no messages are sent that could be lost"
        raise InputError(f"With the input '{kind}' {sent}; leave lost out.")
    if settings.chain_updates and not chosen.carries:
        raise InputError(f"With the input '{kind}' no chain is carried that could learn; leave chain_updates out.")
    if not chosen.infers:
        if model is not None:
            raise InputError(f"The input '{kind}' needs no denoiser; leave it out, or choose another input.")
        talk = talk_of(problem, settings.history) if chosen.talks else None
        return Setup(policy_input(kind, config.own_observation, talk=talk))
    options = {
        "calls": settings.calls,
        "samples": settings.samples if chosen.weighs_samples else 1,
        "warm": settings.warm,
        "together": chosen.together,
        "shared": chosen.shared,
        "lost": settings.lost,
    }
    if chosen.carries:
        denoiser, rule = belief_of(model, kind)
        assert model is not None, "`belief_of` refuses none"
        _check(model, problem, config)
        options |= {"calls": 1, "warm": True, "rule": rule}
        return _inferring(config, model, options, denoiser)
    if config.samples_of == "team":
        sampler = sampler_of(model)
        assert model is not None, "`sampler_of` refuses none"
        _check(model, problem, config)
        return _inferring(config, model, {**options, "team_answer": sampler.team.values_sent}, sampler)
    if model is not None:
        _check(model, problem, config)
        return _inferring(config, model, options, model.denoiser)
    if settings.denoiser_updates == 0:
        raise InputError("With denoiser_updates = 0 no denoiser learns: give a trained one, or a positive number.")
    dataset = HistoryDataset(collect(problem, PROBE_EPISODES, key=key), settings.history)
    histories, _ = sample_pairs(dataset, key, _PROBE_PAIRS)
    return _inferring(config, dataset, options, None, (histories.min(axis=0), histories.max(axis=0)))


def _inferring(
    config: MappoConfig,
    source: Model | HistoryDataset,
    options: dict[str, Any],
    denoiser: Any,
    history_range: tuple[Float[Array, " history"], ...] = (),
) -> Setup:
    """A setup whose agents infer the state, from histories and states as the source has them."""
    inference = Inference(source.layout, source.scaling, **options)
    inputs = policy_input(config.inputs, config.own_observation, inference, config.inference.level)
    return Setup(inputs, denoiser, history_range)


def _check(model: Model, problem: Problem, config: MappoConfig) -> None:
    """Refuse a denoiser that cannot mean this problem, or cannot learn where it should."""
    layout, kept = model.layout, input_class(config.inputs).carries or config.samples_of == "team"
    sizes = {
        "agents": (layout.num_agents, problem.num_agents),
        "actions": (layout.num_actions, problem.num_actions),
        "observation features": (layout.observation_size, problem.observation_size),
        "state features": (model.denoiser.state_size, problem.state_size),
        "steps in a history": (layout.length, layout.length if kept else config.inference.history),
    }
    for name, (ours, theirs) in sizes.items():
        if ours != theirs:
            raise MismatchError(f"The denoiser is of {ours} {name}, the policy of {theirs}; both must agree.")
    if trained_on := model.description.get("problem"):
        what = "The denoiser was trained on another problem than the policy's"
        check_same_description(trained_on, jsonable(problem.description), what, "use one of its own")
    if config.inference.denoiser_updates > 0 and not kept and not isinstance(model.denoiser, Network):
        raise InputError("A denoiser that is not a network cannot learn; set denoiser_updates to 0 to use it as it is.")
