"""Calibration of a trained model: how far its fused estimates lie from the truth, on episodes of their own."""

import dataclasses

import jax
from jaxtyping import PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import MismatchError
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.trust.doubt import measure_gate
from composite_flow.fusion.trust.measure import calibrate_answers, measure_scale
from composite_flow.model import Model
from composite_flow.numerics.entry_point import entry_point


@entry_point
def calibrate(
    model: Model,
    episodes: HistoryDataset,
    others: HistoryDataset | None = None,
    *,
    key: PRNGKeyArray | None = None,
) -> Model:
    """The model with intervals and regions that cover as often as they say, on episodes like these.

    Args:
        model: with fusion.
        episodes: used for nothing else: not to train, to stop or to select. The first 2,000 of them count.
        others: such as validation; they tell how features compare in regions. What the model has by default.
        key: draws the teams; a fixed key by default.

    Raises:
        InputError: the model learned no fusion.
        MismatchError: the episodes are of other histories or states than the model's.
    """
    if model.fusion is None:
        raise LearnedFusion.lacking(chain=False)
    episodes = _as_scaled_in(model, episodes)
    answers, before = model.fusion.answers, model.fusion.calibration
    key_scale, key_teams = jax.random.split(jax.random.key(4) if key is None else key)
    scale = None if before is None else before.scale
    if others is not None:
        scale = measure_scale(answers, others, key=key_scale)
    found = calibrate_answers(answers, episodes, key=key_teams, scale=scale)
    usual = model.fusion.gate
    if others is not None:
        usual = measure_gate(answers, _as_scaled_in(model, others), episodes)
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, calibration=found, gate=usual))


def _as_scaled_in(model: Model, episodes: HistoryDataset) -> HistoryDataset:
    """The episodes with states scaled as the model's are."""
    if episodes.layout != model.layout or episodes.state_size != len(model.state_names):
        raise MismatchError("These episodes have other histories or states than the model; give some of its problem.")
    return episodes.with_scaling(model.scaling)
