"""What a page shows of a model and logged episodes: answers, intervals, doubts, the network, the map, the truth."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.answers import Answer, Answers
from composite_flow.fusion.doubts import NUM_CHECKS, what_is_doubted
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.robust import checked_each
from composite_flow.history import HistoryLayout
from composite_flow.model import Model
from composite_flow.network import Network
from composite_flow.page.content import PageContent, Part
from composite_flow.page.stored_answers import in_16_bits, stored_answers
from composite_flow.page.world_map import map_of

LEVEL = 0.9
"""Of the intervals that a page shows."""
NETWORK_WEIGHTS = 600_000
"""A denoiser of more weights is left out: the page would grow above five megabytes, and a hop would take too long."""
OBSERVED_NUMBERS = 2**21
"""Observations of more numbers are left out."""
_AT_ONCE, _STARTS = 64, 64


def content_of_model(
    model: Model, dataset: HistoryDataset, num_episodes: int, *, title: str, seed: int = 0
) -> PageContent:
    """The first episodes of a dataset, as a model's agents infer their states.

    Args:
        model: with fusion, a network as its denoiser, or both.
        dataset: histories of the model's layout.
        num_episodes: how many episodes are shown; all of them where there are fewer.
        title: of the page.
        seed: draws the noisy states from which composite diffusion starts.

    Raises:
        InputError: the model has neither fusion nor a network that a page can run; no episode is asked for.
        MismatchError: the histories are of another layout.
    """
    if num_episodes < 1:
        raise InputError(f"The number of episodes must be at least 1, not {num_episodes}.")
    network, note = _network_that_fits(model)
    if model.fusion is None and network is None:
        raise InputError(f"There is nothing to show: this model learned no fusion, and {note}.")
    steps, lengths = _steps_of(dataset, num_episodes)
    joint, layout = dataset.joint(steps), model.layout
    histories = np.asarray(joint.histories)
    if histories.shape[2] != layout.size:
        raise MismatchError(f"The model reads histories of {layout.size} columns, not of {histories.shape[2]}.")
    states = with_unknown(dataset, steps, np.asarray(joint.states))
    types = model.fusion.answers.prior.types if model.fusion is not None else types_of(states)
    parts: list[Part] = [({}, {"there": (histories[..., layout.parts["mask"].stop - 1] != 0).astype(np.uint8)})]
    if model.fusion is not None:
        parts += _of_fusion(model.fusion, histories, model.state_names)
    if network is not None:
        parts.append(_of_network(network, histories[..., : layout.parts["mask"].stop], seed))
    parts += observed_part(histories, layout)
    parts.append(({"map": map_of(model.description.get("problem"), model.state_names)}, {}))
    about = title, agent_names(layout), tuple(model.state_names), types, model.scaling
    return PageContent(*about, lengths, states, parts, (f"{note[0].upper()}{note[1:]}.",) if note else ())


def agent_names(layout: HistoryLayout) -> tuple[str, ...]:
    """Those of the data; else numbers, from 1."""
    return tuple(layout.agent_names or (f"agent {agent + 1}" for agent in range(layout.num_agents)))


def _network_that_fits(model: Model) -> tuple[Network | None, str]:
    """The denoiser, where a page can run it; else why not."""
    if not model.has_denoiser:
        return None, "the model learned no denoiser, so that composite diffusion is not shown"
    if not isinstance(model.denoiser, Network):
        return None, "its denoiser is no network of this package, so that the page cannot run it"
    weights = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model.denoiser, eqx.is_array)))
    if weights > NETWORK_WEIGHTS:
        return None, (
            f"its denoiser has {weights:,} weights and a page runs {NETWORK_WEIGHTS:,} at most, so that composite "
            "diffusion is not shown"
        )
    return model.denoiser, ""


def _steps_of(dataset: HistoryDataset, num_episodes: int) -> tuple[Int[np.ndarray, " steps"], tuple[int, ...]]:
    """The steps of the first episodes, those of an unknown state among them, and how many each has."""
    steps = dataset.all_steps
    episodes = np.asarray(dataset.windows.episode_of_step)[steps]
    chosen = np.unique(episodes)[:num_episodes]
    kept = np.isin(episodes, chosen)
    lengths = np.bincount(np.searchsorted(chosen, episodes[kept]), minlength=len(chosen))
    return steps[kept], tuple(lengths.tolist())


def with_unknown(dataset: HistoryDataset, steps: np.ndarray, states: np.ndarray) -> Float[np.ndarray, "steps state"]:
    """States that are missing as what is no number."""
    missing = np.isin(steps, np.asarray([] if dataset.stateless_steps is None else dataset.stateless_steps))
    return np.where(missing[:, None], np.nan, states).astype(np.float32)


def types_of(states: np.ndarray) -> FeatureTypes:
    """Types of features that no fusion has found: those of the shown states."""
    known = states[np.isfinite(states).all(axis=1)]
    return find_types(known) if len(known) else FeatureTypes((), (), states.shape[1])


def _of_fusion(fusion: LearnedFusion, histories: np.ndarray, names: Sequence[str]) -> list[Part]:
    answers = _answers_of(fusion.answers, jnp.asarray(histories))
    parts = [stored_answers(fusion.answers.prior, answers), _intervals(fusion, histories.shape[1])]
    return [*parts, _doubts(fusion, histories, names)] if fusion.is_watched else parts


@eqx.filter_jit
def _answers_of(answers: Answers, histories: Float[jax.Array, "steps agents columns"]) -> Answer:
    """What every agent answers at every step, but its free numbers; zero where it is not there."""

    def of_step(each):
        there, said = answers.there(each)[:, None], answers.answer_each(each)
        return tuple(jnp.where(there, part, 0.0) for part in (said.evidence, said.weight, said.precision))

    evidence, weight, precision = jax.lax.map(of_step, histories, batch_size=_AT_ONCE)
    return Answer(evidence, weight, precision, jnp.zeros((*evidence.shape[:2], 0)))


def _intervals(fusion: LearnedFusion, num_agents: int) -> Part:
    """How far errors of numbers reach at `LEVEL`, in claimed deviations, and the widest usual, by size of team."""
    sizes, types = jnp.arange(1, num_agents + 1), fusion.answers.prior.types
    reach = np.full((num_agents, types.size), np.nan, np.float32)
    calibration, entry = fusion.calibration, None
    if calibration is not None and calibration.promises(LEVEL):
        entry = {"level": LEVEL, "by": "calibration episodes"}
        for place in np.flatnonzero(types.is_number).tolist():
            reach[:, place] = np.asarray(calibration.reach(place, LEVEL, sizes, "step"))
    elif fusion.quantiles is not None:
        entry = {"level": LEVEL, "by": "validation episodes"}
        reach[:, types.is_number] = np.asarray(fusion.quantiles.at(LEVEL, sizes))[:, None]
    arrays = {} if entry is None else {"reach": reach}
    if calibration is not None:
        arrays["widest"] = np.asarray(calibration.widest(sizes), np.float32)
    return {"intervals": entry}, arrays


def _doubts(fusion: LearnedFusion, histories: np.ndarray, names: Sequence[str]) -> Part:
    """Who is in doubt where all take part, and why."""
    watch, team = fusion.measured_watch, jnp.ones(histories.shape[:2], bool)
    found = checked_each(fusion.answers, watch, jnp.asarray(histories), team, jnp.float32(watch.usual_bound), False)
    assert found.doubts is not None
    reasons = [what_is_doubted(place, names) for place in range(len(names) + NUM_CHECKS)]
    arrays = {"doubted": np.asarray(found.doubts.in_doubt, np.uint8)}
    return {"reasons": reasons}, {**arrays, "doubt_place": np.asarray(found.doubts.place, np.uint16)}


def _of_network(network: Network, histories: np.ndarray, seed: int) -> Part:
    """The network's weights, the histories that it reads without the agents' identities, and where flows start."""
    entry: dict[str, Any] = {name: getattr(network, name) for name in ("width", "depth", "activation")}
    weights = {f"weights_{place}": layer for place, layer in enumerate(network.state_weights)}
    own = ("history_weights", "biases", "output_bias", "history_minimum", "history_maximum")
    starts = jax.random.normal(jax.random.key(seed), (_STARTS, network.state_size))
    arrays = {**weights, **{name: getattr(network, name) for name in own}, "starts": starts}
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return {"network": {**entry, "conditioned": network.num_conditioned}}, {**arrays, "histories": histories}


def observed_part(histories: np.ndarray, layout: HistoryLayout) -> list[Part]:
    """What each agent sees at each step, where that is not too much."""
    last = layout.parts["observations"].stop
    seen = histories[..., last - layout.observation_size : last]
    if seen.size > OBSERVED_NUMBERS:
        return []
    names = layout.observation_names or [f"observation {place + 1}" for place in range(layout.observation_size)]
    return [({"observations": list(names)}, {"observed": in_16_bits(seen)})]
