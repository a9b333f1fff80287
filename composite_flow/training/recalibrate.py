"""A finished model on new episodes: the radius of its checks and its intervals anew, its weights as they are."""

import dataclasses

from composite_flow.data.dataset import HistoryDataset
from composite_flow.model import Model
from composite_flow.training.calibrate import calibrate
from composite_flow.training.fit import measured_radius_on


def recalibrate(model: Model, episodes: HistoryDataset) -> Model:
    """The model with a radius and intervals that hold on episodes like these.

    Args:
        model: of a denoiser, of fusion, or both.
        episodes: that were not used in training; in the model's scaling.

    Raises:
        MismatchError: they are of other histories or states than the model's.
        InputError: they are too few.
    """
    if model.has_denoiser:
        model = dataclasses.replace(model, radius=measured_radius_on(model.denoiser, episodes))
    return model if model.fusion is None else calibrate(model, episodes)
