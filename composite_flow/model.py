"""A trained denoiser with all that it takes to use it: the layout of histories, the scaling of states, the radius."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.certificate.checks import Certificate, certify
from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.composite.reconstruct import Estimate, reconstruct
from composite_flow.composite.sampling import Sampling, SamplingOptions
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Denoiser
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.plain_json import jsonable, told_differences
from composite_flow.history import HistoryLayout
from composite_flow.network import Network

MODEL_FILE = "model.safetensors"


class Reconstruction(eqx.Module):
    """An estimate with its checks, in the state's own units.

    Attributes:
        state: the candidate that most samples reached.
        candidates: the distinct end points, most frequent first.
        shares: each candidate's share of the samples.
        mask: which rows of `candidates` are filled.
        state_names: a name for each feature of the state.
        estimate: the same in scaled units, with samples, order and number of messages.
        certificate: the checks of every sample.
    """

    state: Float[Array, " state"]
    candidates: Float[Array, "candidates state"]
    shares: Float[Array, " candidates"]
    mask: Bool[Array, " candidates"]
    state_names: tuple[str, ...] = eqx.field(static=True)
    estimate: Estimate
    certificate: Certificate

    @property
    def named_state(self) -> dict[str, float]:
        """The state by the names of its features."""
        return dict(zip(self.state_names, np.asarray(self.state).tolist(), strict=True))

    @property
    def accepted_share(self) -> float:
        """Share of the samples that passed all checks."""
        return float(jnp.mean(self.certificate.accepted.astype(jnp.float32)))


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
    curves: tuple[dict[str, int | float], ...]
    state_names: tuple[str, ...]
    description: dict[str, Any]

    def reconstruct(
        self,
        histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
        *,
        key: PRNGKeyArray,
        radius: float | ConformalRadius | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Reconstruction:
        """Infer the state from a joint history, and check the answer (A.6).

        Args:
            histories: the agents' histories, encoded by `layout`.
            key: random key; fixes the noises and the orders.
            radius: D_φ by hand, in scaled units, or a conformal radius of this model; the model's own by default.
            sampling: as in `composite.reconstruct`.
            options: fields of `Sampling` by name, such as `num_samples`; they replace those of `sampling`.

        Raises:
            MismatchError: the histories are not of the model's layout.
            InputError: there is no radius, or the histories or options cannot be used.
        """
        if histories.shape[1] != self.layout.size:
            raise MismatchError(
                f"This model reads histories with {self.layout.size} columns, not {histories.shape[1]}; "
                "encode them with the model's layout."
            )
        radius = self.radius if radius is None else radius
        if radius is None:
            raise InputError("This model's radius was not measured; give one to check the answer with.")
        check_radius(radius)  # before the work, not after it
        estimate = reconstruct(self.denoiser, jnp.asarray(histories), key=key, sampling=sampling, **options)
        return Reconstruction(
            state=self.scaling.unscale(estimate.state),
            candidates=self.scaling.unscale(estimate.candidates),
            shares=estimate.shares,
            mask=estimate.mask,
            state_names=self.state_names,
            estimate=estimate,
            certificate=certify(self.denoiser, jnp.asarray(histories), estimate, radius=radius),
        )

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


def check_same_problem(model: Model, episodes: Episodes) -> None:
    """Refuse data whose histories or states the model cannot mean.

    Raises:
        MismatchError: sizes, names or the problem's description differ.
    """
    layout = model.layout
    sizes = {
        "agents": (layout.num_agents, episodes.num_agents),
        "actions": (layout.num_actions, episodes.num_actions),
        "observation features": (layout.observation_size, episodes.observation_size),
        "state features": (model.denoiser.state_size, episodes.state_size),
    }
    for name, (ours, theirs) in sizes.items():
        if ours != theirs:
            raise MismatchError(
                f"The model is of {ours} {name}, the data of {theirs}; use data of the model's problem."
            )
    if tuple(model.state_names) != tuple(episodes.state_names):
        raise MismatchError("Model and data name the state's features differently; use data of the model's problem.")
    trained_on, given = model.description.get("problem"), jsonable(episodes.description)
    if trained_on and given:
        what = "The model was trained on another problem than the data's"
        check_same_description(trained_on, given, what, "use data of the model's problem")


def check_same_description(trained_on: dict[str, Any], given: dict[str, Any], what: str, advice: str) -> None:
    """Refuse a problem that is not the one of training, another version of its library included.

    Args:
        trained_on, given: descriptions of problems, as JSON holds them.
        what: is wrong where they differ; the start of the sentence.
        advice: what to do then; its end.

    Raises:
        MismatchError: they differ; it says in what, with both values.
    """
    told = told_differences(trained_on, given).replace("jaxmarl (", "the version of JaxMARL (")
    if told:
        raise MismatchError(f"{what}: they differ in {told}; {advice}.")
