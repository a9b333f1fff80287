"""Calibration of a trained model: how far its fused estimates lie from the truth, on episodes of their own."""

import dataclasses

import jax
from jaxtyping import PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import MismatchError
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.trust.measure import calibrate_answers, measure_scale
from composite_flow.fusion.trust.scores import Counted
from composite_flow.fusion.trust.usual import measure_watch
from composite_flow.model import Model
from composite_flow.numerics.entry_point import entry_point
from composite_flow.training.familiarity import learn_watch

_BYTES = 10**9  # of data that are read to learn what histories look like


@entry_point
def calibrate(
    model: Model,
    episodes: HistoryDataset,
    others: HistoryDataset | None = None,
    *,
    lost: float = 0.0,
    counted: Counted | None = None,
    key: PRNGKeyArray | None = None,
) -> Model:
    """The model with intervals and regions that cover as often as they say, on episodes like these.

    Args:
        model: with fusion.
        episodes: used for nothing else: not to train, to stop or to select. The first 2,000 of them count.
        others: such as validation; they tell how features compare in regions and what is usual of agents. What the
            model has by default.
        lost: share of the answers that do not arrive, so that bounds hold for a team of whom some are not heard.
        counted: from states in their own units, which features count at which steps, such as those of units that live:
            bounds then hold at these steps; by default at all.
        key: draws the teams; a fixed key by default.

    Raises:
        InputError: the model learned no fusion, or a share of lost answers outside [0, 1).
        MismatchError: the episodes are of other histories or states than the model's.
    """
    if model.fusion is None:
        raise lacking()
    episodes = _as_scaled_in(model, episodes)
    answers, before = model.fusion.answers, model.fusion.calibration
    key_scale, key_teams = jax.random.split(jax.random.key(4) if key is None else key)
    scale = None if before is None else before.scale
    if others is not None:
        scale = measure_scale(answers, others, key=key_scale, lost=lost, counted=counted)
    options = {"scale": scale, "lost": lost, "counted": counted}
    found = calibrate_answers(answers, episodes, key=key_teams, **options)
    fusion = dataclasses.replace(model.fusion, calibration=found)
    if others is not None or fusion.is_watched:
        others = None if others is None else _as_scaled_in(model, others)
        fusion = dataclasses.replace(fusion, watch=_watch(fusion, others, episodes))
    return dataclasses.replace(model, fusion=fusion)


def _watch(fusion: LearnedFusion, others: HistoryDataset | None, episodes: HistoryDataset) -> Watch:
    """What is usual among sound agents; what was learned of histories stays."""
    known = fusion.watch
    if known is None:  # of a file of before it was kept
        assert others is not None, "nothing is measured that could be measured anew"
        known = learn_watch(fusion.answers, others, 0, key=jax.random.key(0), num_bytes=_BYTES)
    return measure_watch(fusion.answers, known, others, episodes)


def _as_scaled_in(model: Model, episodes: HistoryDataset) -> HistoryDataset:
    """The episodes with states scaled as the model's are."""
    if episodes.layout != model.layout or episodes.state_size != len(model.state_names):
        raise MismatchError("These episodes have other histories or states than the model; give some of its problem.")
    return episodes.with_scaling(model.scaling)
