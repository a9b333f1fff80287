"""A trained denoiser with all that it takes to use it: the layout of histories, the scaling of states, the radius."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from composite_flow.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Denoiser
from composite_flow.errors import FileError, InputError
from composite_flow.history import HistoryLayout
from composite_flow.network import Network

MODEL_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What training returns and `load` reads back.

    Attributes:
        denoiser: f_θ, shared by all agents.
        layout: sizes and columns of the histories that it reads.
        scaling: of states to [0, 1].
        radius: D_φ, the largest deviation of a fixed point from its state, in scaled units, measured on validation
            pairs or given by hand; None until then.
        curves: the learning curve, a dictionary per point.
        state_names: a name for each feature of the state.
        description: anything else worth keeping, such as settings, problem and split; JSON-able.
    """

    denoiser: Denoiser
    layout: HistoryLayout
    scaling: Scaling
    radius: float | None
    curves: tuple[dict[str, float], ...]
    state_names: tuple[str, ...]
    description: dict[str, Any]

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Write `model.safetensors` into a folder.

        Raises:
            FileError: the file is in the way or cannot be written.
        """
        network = None
        if isinstance(self.denoiser, Network):
            network = {name: getattr(self.denoiser, name) for name in _NETWORK_SETTINGS}
        description = {
            "kind": "model",
            "network": network,
            "layout": dataclasses.asdict(self.layout),
            "radius": self.radius,
            "curves": self.curves,
            "state_names": self.state_names,
            "description": self.description,
        }
        tree = {"denoiser": self.denoiser, "scaling": self.scaling}
        save_checkpoint(Path(folder) / MODEL_FILE, tree, description, overwrite)


_NETWORK_SETTINGS = ("history_size", "state_size", "width", "depth", "history_at", "activation")


def load(folder: str | os.PathLike, denoiser: Denoiser | None = None) -> Model:
    """Read the model that a run wrote.

    Args:
        folder: the run's folder.
        denoiser: a denoiser of the same structure, where it is not a `Network` but of one's own class.

    Raises:
        FileError: the file is missing, damaged, or not a model.
        InputError: the denoiser is of one's own class and was not given.
    """
    path = Path(folder) / MODEL_FILE
    stored = load_description(path)
    if stored.get("kind") != "model":
        raise FileError(f"{path} is not a model.")
    if denoiser is None:
        denoiser = _empty_network(path, stored["network"])
    tree = load_checkpoint(path, {"denoiser": denoiser, "scaling": Scaling.identity(denoiser.state_size)})
    return Model(
        denoiser=tree["denoiser"],
        layout=HistoryLayout(**stored["layout"]),
        scaling=tree["scaling"],
        radius=stored["radius"],
        curves=tuple(stored["curves"]),
        state_names=tuple(stored["state_names"]),
        description=stored["description"],
    )


def _empty_network(path: Path, settings: dict[str, Any] | None) -> Network:
    """The structure of a network, without its weights."""
    if settings is None:
        raise InputError(f"{path} holds a denoiser of another class; give `load` one of the same structure.")

    return eqx.filter_eval_shape(
        lambda key: Network(*(settings[name] for name in _NETWORK_SETTINGS), key=key), jax.random.key(0)
    )


def state_names(dataset: Any, state_size: int) -> tuple[str, ...]:
    """The dataset's names of the state's features, or "state 0", "state 1", …"""
    names = getattr(dataset, "state_names", None)
    return tuple(names) if names else tuple(f"state {index}" for index in range(state_size))
