"""What is known without any network: the training mean, and linear estimates from histories. Kept beside a model."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.baselines.ridge import Ridge, RidgeByAge, fit_ridge_by_age
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import FileError, TooLargeError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint

LINEAR_FILE = "linear.safetensors"
MOST_STEPS = 20_000  # training steps that are read: enough to compare with, in a third of the time
LARGE = 1_000  # columns of all histories; with more it takes more than a second or two, and is to be told


class LinearEstimates(eqx.Module):
    """The training mean, and ridge regressions from histories.

    Attributes:
        mean: s̄ of the training states, scaled.
        of_all_histories: from all histories side by side, by maps for each number of steps that they hold; earlier
            versions had one map for all. None where they have too many columns.
        of_own_history: from each agent's own; likewise.
        left_out: why a regression is None, in a sentence; empty where both are there.
    """

    mean: Float[Array, " state"]
    of_all_histories: RidgeByAge | Ridge | None
    of_own_history: RidgeByAge | Ridge | None
    left_out: str = eqx.field(static=True, default="")

    def estimates(
        self, dataset: HistoryDataset, steps: Int[np.ndarray, " joint"]
    ) -> dict[str, Float[Array, "joint _ state"]]:
        """Scaled estimates at steps of a dataset, by name: one, or one of each agent's own history."""
        named = {"ridge_of_all_histories": self.of_all_histories, "ridge_of_own_history": self.of_own_history}
        found = {
            name: jnp.asarray(ridge.estimates(dataset, steps), jnp.float32)
            for name, ridge in named.items()
            if ridge is not None
        }
        return {**found, "constant": jnp.broadcast_to(self.mean, (len(steps), 1, len(self.mean)))}

    def save(self, folder: Path, about: Any, *, overwrite: bool = False) -> None:
        """Write `linear.safetensors` into a folder; `about` says of which training data these are, JSON-able."""
        shapes = {name: _shapes(ridge) for name in _RIDGES if (ridge := getattr(self, name)) is not None}
        settings = {"state": len(self.mean), "ridges": shapes, "left_out": self.left_out}
        save_checkpoint(folder / LINEAR_FILE, self, {"kind": "linear", "about": about, **settings}, overwrite)


def load_linear(folder: Path, about: Any) -> LinearEstimates | None:
    """Read what `save` wrote into a folder; None where there is none of these training data.

    Raises:
        FileError: the file is damaged, or something else.
    """
    path = folder / LINEAR_FILE
    if not path.exists():
        return None
    stored = load_description(path)
    if stored.get("kind") != "linear":
        raise FileError(f"{path} holds no linear estimates.")
    if stored["about"] != about:
        return None
    ridges = {name: _empty_ridge(stored["ridges"].get(name)) for name in _RIDGES}
    return load_checkpoint(path, LinearEstimates(jnp.zeros(stored["state"]), **ridges, left_out=stored["left_out"]))


_RIDGES = ("of_all_histories", "of_own_history")


def fit_linear(train: HistoryDataset, validation: HistoryDataset) -> LinearEstimates:
    """Fit all of them, to at most 20,000 training steps; in float32, as they are kept.

    Args:
        train: gives the means and the moments.
        validation: chooses each penalty.
    """
    found, reasons = {}, []
    for name in _RIDGES:
        try:
            together = name == "of_all_histories"
            ridge = fit_ridge_by_age(train, validation, together=together, most_steps=MOST_STEPS)
            found[name] = jax.tree.map(lambda part: part.astype(np.float32), ridge)
        except TooLargeError as error:
            found[name] = None
            reasons.append(str(error))
    return LinearEstimates(mean_state(train), **found, left_out=reasons[0] if reasons else "")


def takes_long(train: HistoryDataset) -> bool:
    """Whether `fit_linear` takes more than a second or two."""
    return train.num_agents * train.layout.size > LARGE


def mean_state(train: HistoryDataset) -> Float[Array, " state"]:
    """s̄ of the training states, scaled."""
    total = sum(block.sum(axis=0, dtype=np.float64) for block in train.windows.states_of(np.asarray(train.steps)))
    return train.windows.scaled_states(jnp.asarray(total / train.num_steps, jnp.float32))


def _shapes(ridge: RidgeByAge | Ridge) -> dict[str, Any]:
    if isinstance(ridge, RidgeByAge):
        return {"by_age": [_shapes(one) for one in ridge.maps]}
    return {"shapes": [list(part.shape) for part in jax.tree.leaves(ridge)]}


def _empty_ridge(settings: dict[str, Any] | None) -> RidgeByAge | Ridge | None:
    if settings is None:
        return None
    if "by_age" in settings:
        return RidgeByAge(tuple(map(_empty_map, settings["by_age"])))
    return _empty_map(settings)


def _empty_map(settings: dict[str, Any]) -> Ridge:
    return Ridge(*(np.zeros(shape, np.float32) for shape in settings["shapes"]))
