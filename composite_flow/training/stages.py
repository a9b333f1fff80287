"""What a model learns, one network after the other: the denoiser, and for fusion answers, team denoiser and chain.

A stage says from which samples a network learns, how it starts, by which loss, and how good it is on held-out data.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answers, Prior
from composite_flow.fusion.chain import ChainNetwork, chain_losses
from composite_flow.fusion.chain_estimate import chain_quality
from composite_flow.fusion.joint_steps import JointSteps, OwnSteps, joint_statistics
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.over_time import FilterKind
from composite_flow.fusion.quality import team_quality
from composite_flow.fusion.screening import prefers_sparse, sparse_parts
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.team_denoiser import TeamDenoiser, build_team_denoiser
from composite_flow.fusion.team_loss import team_denoiser_losses
from composite_flow.network import Activation, Network
from composite_flow.training.config import STAGES, TrainingConfig
from composite_flow.training.loss import Pairs, denoising_loss, sample_pairs
from composite_flow.training.next_agent_stage import MOST_STEPS, NEXT_AGENT_FILE, next_agent_stage
from composite_flow.training.over_time_stage import over_time_file, over_time_stage
from composite_flow.training.stage import HistoryRange, Stage

_SAMPLE_BYTES, _MOST_SAMPLES, _JUDGED = 100e6, 4096, 1024
_WARMUP_SHARE = 10  # at most a tenth of the steps: answers are often trained for few
FEWEST_JOINT = 64  # joint histories per step of large teams: gradients of fewer are too noisy


def stage_of(
    name: str,
    train: Pairs,
    config: TrainingConfig,
    limits: HistoryRange,
    state_size: int,
    learned: Mapping[str, Any],
) -> Stage:
    """The stage of this name.

    Args:
        name: one of `config.stages`.
        train: the training data.
        config: settings.
        limits: smallest and largest value of each history column.
        state_size: features of the state.
        learned: the networks of the stages before, by name.

    Raises:
        InputError: answers are to be learned from data whose joint histories are not known.
    """
    if config.minutes is not None:
        config = replace(config, minutes=config.minutes / len(config.stages))
    if name == "team_denoiser":
        return _team_denoiser(train, config, learned["answers"])
    if name == "over_time":
        number, (config, total, joint) = _OVER_TIME_NUMBER, _fusion_budget(train, config)
        prior = learned["answers"].prior
        return over_time_stage(joint_data(train), config, total, joint, limits, prior, number)
    if name == "next_agent":
        number, (config, total, joint) = _NEXT_AGENT_NUMBER, _brief_budget(train, config)
        return next_agent_stage(joint_data(train), config, total, joint, learned["answers"], number)
    return {"denoiser": _denoiser, "answers": _answers, "chain": _chain}[name](train, config, limits, state_size)


def planned_steps(name: str, train: Pairs, config: TrainingConfig) -> int | None:
    """Planned steps of the stage of this name; None where minutes alone decide."""
    if name == "denoiser":
        return config.total_steps(train.num_steps * train.layout.num_agents)
    return (_brief_budget if name == "next_agent" else _fusion_budget)(train, config)[1]


def stage_files() -> tuple[str, ...]:
    """The checkpoints of all stages."""
    return (*_FILES.values(), *map(over_time_file, get_args(FilterKind)))


def with_learned_before(folder: Path, config: TrainingConfig) -> TrainingConfig:
    """Settings of a resumed training: what `config` says is learned, and what the folder has checkpoints of."""
    there = {name for name, file in _FILES.items() if (folder / file).exists()}
    learns = there | set(config.stages)
    learn = next(learn for learn, stages in STAGES.items() if learns <= set(stages))
    over_time = config.over_time
    if over_time == "none":
        over_time = next((kind for kind in get_args(FilterKind) if (folder / over_time_file(kind)).exists()), "none")
    beside = {name: getattr(config, name) or name in there for name in ("chain", "next_agent")}
    return replace(config, learn=learn, over_time=over_time, **beside)


TRAINING_FILE, ANSWERS_FILE = "training.safetensors", "training-answers.safetensors"
TEAM_FILE, CHAIN_FILE = "training-team.safetensors", "training-chain.safetensors"
_FILES = {
    "denoiser": TRAINING_FILE,
    "answers": ANSWERS_FILE,
    "team_denoiser": TEAM_FILE,
    "chain": CHAIN_FILE,
    "next_agent": NEXT_AGENT_FILE,
}
_ANSWERS_NUMBER, _TEAM_NUMBER, _CHAIN_NUMBER = (2**32 - k for k in (3, 4, 5))  # numbers that no step has
_OVER_TIME_NUMBER, _NEXT_AGENT_NUMBER = 2**32 - 6, 2**32 - 7


def _denoiser(train: Pairs, config: TrainingConfig, limits: HistoryRange, state_size: int) -> Stage:
    return Stage(
        name="denoiser",
        file=TRAINING_FILE,
        number=None,
        config=config,
        total=planned_steps("denoiser", train, config),
        samples=train,
        build=eqx.Partial(_new_denoiser, config, state_size, limits),
        losses=config.losses,
        drawn=config.drawn,
        judge=lambda network, held_out: {"validation_loss": denoising_loss(network, held_out).value},
    )


def _new_denoiser(config: TrainingConfig, state_size: int, limits: HistoryRange, key: PRNGKeyArray) -> Network:
    options = (config.width, config.depth, config.history_at, config.activation)
    network = Network(len(limits[0]), state_size, *options, key=key, initial=config.initial)
    return network.with_history_range(*limits)


def _answers(train: Pairs, config: TrainingConfig, limits: HistoryRange, state_size: int) -> Stage:
    num_bytes = int(1e9 * config.resident_gigabytes)
    config, total, joint = _fusion_budget(train, config)
    sparse = prefers_sparse(train.layout, state_size)
    samples, build = (_sparse if sparse else _dense)(joint_data(train), config, limits, num_bytes)
    return Stage(
        name="answers",
        file=ANSWERS_FILE,
        number=_ANSWERS_NUMBER,
        config=config,
        total=total,
        samples=samples,
        build=build,
        losses=fusion_losses,
        drawn=joint,
        judge=_judge_answers,
    )


def _fusion_budget(train: Pairs, config: TrainingConfig) -> tuple[TrainingConfig, int | None, int]:
    """Settings with the budget of fusion, its planned steps, and joint histories per step."""
    joint = joint_histories_per_step(config.batch, train.layout.num_agents)
    if config.fusion_steps is not None:
        config = replace(config, steps=config.fusion_steps, epochs=None)
    total = config.total_steps(train.num_steps, joint)
    if total is not None:
        config = replace(config, warmup=min(config.warmup, max(1, total // _WARMUP_SHARE)))
    return config, total, joint


def _brief_budget(train: Pairs, config: TrainingConfig) -> tuple[TrainingConfig, int | None, int]:
    """The same, of at most so many steps as `next_agent` takes."""
    config, total, joint = _fusion_budget(train, config)
    if total is not None and total > MOST_STEPS:
        total, config = MOST_STEPS, replace(config, warmup=min(config.warmup, MOST_STEPS // _WARMUP_SHARE))
    return config, total, joint


def _team_denoiser(train: Pairs, config: TrainingConfig, answers: AnswerNetwork) -> Stage:
    config, total, joint = _fusion_budget(train, config)
    return Stage(
        name="team_denoiser",
        file=TEAM_FILE,
        number=_TEAM_NUMBER,
        config=config,
        total=total,
        samples=JointSteps(joint_data(train)),
        build=eqx.Partial(_new_team_denoiser, config.width, answers),
        losses=team_denoiser_losses,
        drawn=joint,
        judge=_judge_team_denoiser,
    )


def _new_team_denoiser(width: int, answers: AnswerNetwork, key: PRNGKeyArray) -> TeamDenoiser:
    return build_team_denoiser(answers, width, speaker_width=width, key=key)


@eqx.filter_jit
def _mean_team_loss(network: TeamDenoiser, histories, states) -> Float[Array, ""]:
    return jnp.mean(team_denoiser_losses(network, histories, states, jax.random.key(0)))


def _judge_team_denoiser(network: TeamDenoiser, held_out: Pairs) -> dict[str, float]:
    histories, states = joint_samples(held_out, jax.random.key(0), _JUDGED)
    return {"validation_loss": float(_mean_team_loss(network, histories, states))}


def _chain(train: Pairs, config: TrainingConfig, limits: HistoryRange, state_size: int) -> Stage:
    num_bytes = int(1e9 * config.resident_gigabytes)
    config, total, joint = _fusion_budget(train, config)
    samples = JointSteps(joint_data(train))
    return Stage(
        name="chain",
        file=CHAIN_FILE,
        number=_CHAIN_NUMBER,
        config=config,
        total=total,
        samples=samples,
        build=eqx.Partial(_new_chain, config, limits, joint_statistics(samples, num_bytes)[1].mean),
        losses=chain_losses,
        drawn=joint,
        judge=_judge_chain,
        silent="no agent changes the chain's message by what it knows",
    )


def _new_chain(config: TrainingConfig, limits: HistoryRange, mean: Float[Array, " state"], key) -> ChainNetwork:
    return ChainNetwork(limits, mean, config.width, config.depth, config.activation, key=key)


def _judge_chain(network: ChainNetwork, held_out: Pairs) -> dict[str, float]:
    return chain_quality(network, *joint_samples(held_out, jax.random.key(0), _JUDGED))


def _dense(train: HistoryDataset, config: TrainingConfig, limits: HistoryRange, num_bytes: int):
    """Of few features: every agent speaks of all of them."""
    samples = JointSteps(train)
    mean_histories, prior = joint_statistics(samples, num_bytes)
    return samples, eqx.Partial(_new_dense, config, mean_histories, limits, prior)


def _new_dense(config: TrainingConfig, mean_histories, limits: HistoryRange, prior: Prior, key) -> AnswerNetwork:
    options = {"width": config.width, "depth": config.depth, "activation": config.activation}
    return AnswerNetwork(mean_histories, limits, prior, **options, key=key)


def _sparse(train: HistoryDataset, config: TrainingConfig, limits: HistoryRange, num_bytes: int):
    """Of large states: every agent speaks of few features, and the network has a size of its own."""
    parts = sparse_parts(train.resident(jax.random.key(0), num_bytes), key=jax.random.key(1))
    slots, mean_histories, _, prior = parts
    own = limits[0][: mean_histories.shape[1]], limits[1][: mean_histories.shape[1]]  # of all training steps
    return OwnSteps(train), eqx.Partial(_new_sparse, config.activation, slots, mean_histories, own, prior)


def _new_sparse(activation: Activation, slots, mean_histories, limits, prior: Prior, key) -> SparseAnswers:
    return SparseAnswers(slots, mean_histories, limits, prior, activation=activation, key=key)


def _judge_answers(network: Answers, held_out: Pairs) -> dict[str, float]:
    kind = OwnSteps if isinstance(network, SparseAnswers) else JointSteps
    return team_quality(network, kind(joint_data(held_out)))


def joint_samples(
    data: Pairs, key: PRNGKeyArray, most: int = _MOST_SAMPLES
) -> tuple[Float[Array, "joint agents history"], Float[Array, "joint state"]]:
    """Some joint histories and states of data in memory: 4,096, or as many as 100 MB hold."""
    samples = JointSteps(joint_data(data))
    count = int(_SAMPLE_BYTES / (4 * samples.layout.num_agents * samples.layout.size))
    return sample_pairs(samples, key, max(1, min(most, count)))


def joint_data(data: Pairs) -> HistoryDataset:
    """The data, if their joint histories are known; InputError otherwise."""
    if not isinstance(data, HistoryDataset):
        raise InputError("Fusion is learned from whole joint histories; give the data as a HistoryDataset.")
    return data


def joint_histories_per_step(batch: int, num_agents: int) -> int:
    """Joint histories that a step learns from: as many pairs as the denoiser's batch, but never fewer than 64.

    A multiple of the number of devices, which share them.
    """
    devices = jax.device_count()
    return -(-max(batch // num_agents, FEWEST_JOINT) // devices) * devices
