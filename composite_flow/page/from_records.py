"""What a page shows of a trained policy's episodes: the world, and what each agent infers of it by itself."""

from collections.abc import Sequence

import numpy as np

from composite_flow.data.feature_types import find_types
from composite_flow.errors import InputError
from composite_flow.page.content import PageContent, Part
from composite_flow.page.from_model import OBSERVED_NUMBERS
from composite_flow.page.stored_answers import in_16_bits
from composite_flow.page.world_map import map_of
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.policy.inference import Inference
from composite_flow.problems.host import AnyProblem

EXACT_NUMBERS = 2**20
"""Numbers of all beliefs up to which they are kept in 32 bits."""


def content_of_records(
    problem: AnyProblem, records: Sequence[EpisodeRecord], inference: Inference | None, *, title: str
) -> PageContent:
    """Episodes in which agents act on what they infer; the mean and the variance of each agent's samples are shown.

    Args:
        problem: whose episodes they are.
        records: of the episodes, one at least.
        inference: how the team infers; None where it infers nothing.
        title: of the page.

    Raises:
        InputError: the team infers nothing.
    """
    samples = [record.samples for record in records if record.samples is not None]
    if inference is None or len(samples) < len(records):
        raise InputError("This policy infers nothing, which a page would show: name a .gif to see how it acts.")
    scaling = inference.scaling
    states = np.asarray(scaling.scale(np.concatenate([record.states for record in records])), np.float32)
    beliefs = np.asarray(scaling.scale(np.concatenate(samples).reshape(-1, states.shape[1])), np.float32)
    beliefs = beliefs.reshape(len(states), problem.num_agents, -1, states.shape[1])
    parts: list[Part] = [
        _beliefs(beliefs, inference),
        _observed(np.concatenate([record.observations for record in records])),
        ({"map": map_of(problem.description, problem.state_names)}, {}),
    ]
    agents = tuple(f"agent {agent + 1}" for agent in range(problem.num_agents))
    about = title, agents, tuple(problem.state_names), find_types(states), scaling
    lengths = tuple(record.num_steps for record in records)
    return PageContent(*about, lengths, states, parts, tuple(map(_ending, range(len(records)), records)))


def _beliefs(samples: np.ndarray, inference: Inference) -> Part:
    stored = np.asarray if samples[:, :, 0].size <= EXACT_NUMBERS else in_16_bits
    arrays = {"own_mean": stored(samples.mean(axis=2)), "own_variance": stored(samples.var(axis=2))}
    about = {"count": samples.shape[2], "one": inference.holds_one, "messages": inference.messages}
    return {"samples": about}, arrays


def _observed(observations: np.ndarray) -> Part:
    return ({}, {"observed": in_16_bits(observations)}) if observations.size <= OBSERVED_NUMBERS else ({}, {})


def _ending(place: int, record: EpisodeRecord) -> str:
    """What an episode came to, for people, who count from 1."""
    ending = {True: ", and won", False: ", and did not win", None: ""}[record.won]
    return f"In episode {place + 1} the team earned {float(record.rewards.sum()):.4g}{ending}."
