"""A trained denoiser with all that it takes to use it: the layout of histories, the scaling of states, the radius."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.certificate.checks import Certificate, certify, certify_batch
from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.certificate.reconstruction import Reconstruction
from composite_flow.composite.reconstruct import Estimate, reconstruct, reconstruct_batch
from composite_flow.composite.sampling import Sampling, SamplingOptions, sampling_from
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Denoiser
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.estimates import Estimates
from composite_flow.files.plain_json import describe_differences, jsonable
from composite_flow.history import HistoryLayout
from composite_flow.network import Network
from composite_flow.numerics.batches import padded_batches
from composite_flow.problems.kinds import in_words

MODEL_FILE = "model.safetensors"

_AT_ONCE = 256  # joint histories in one call of `reconstruct_batch`; the noises depend on it


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
        radius = self._usable_radius(histories, radius)
        estimate = reconstruct(self.denoiser, jnp.asarray(histories), key=key, sampling=sampling, **options)
        return self._in_own_units(estimate, certify(self.denoiser, jnp.asarray(histories), estimate, radius=radius))

    def reconstruct_batch(
        self,
        histories: Float[Array, "joint agents columns"] | Float[np.ndarray, "joint agents columns"],
        *,
        key: PRNGKeyArray,
        radius: float | ConformalRadius | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Reconstruction:
        """`reconstruct` many joint histories, each with noises and orders of its own.

        They are computed 256 at a time, so that memory is bounded but for the result, which holds `agents` × `samples`
        × `state` numbers and more for each. `reconstruct_steps` keeps less of them, and no more than 256 at a time.

        Args:
            histories: joint histories along the leading axis; the rest as in `reconstruct`.

        Returns:
            A reconstruction whose arrays have the joint histories as their leading axis.

        Raises:
            MismatchError, InputError: as `reconstruct`, or if there is no joint history.
        """
        radius, sampling = self._usable_radius(histories, radius), sampling_from(sampling, options)
        parts = []
        for number, (rows, kept) in _parts(len(histories)):
            found = self._reconstruct_chunk(histories[rows], jax.random.fold_in(key, number), radius, sampling)
            parts.append(jax.tree.map(lambda leaf, kept=kept: leaf[:kept], found))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    def reconstruct_steps(
        self,
        dataset: HistoryDataset,
        steps: Int[np.ndarray, " joint"],
        *,
        key: PRNGKeyArray,
        radius: float | ConformalRadius | None = None,
        about: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Iterator[Estimates]:
        """Infer the states at some steps of a dataset, 256 of them at a time.

        Args:
            dataset: of the model's problem and length of histories.
            steps: such as `dataset.steps`.
            key, radius, sampling, options: as in `reconstruct_batch`, whose results these are.
            about: what is kept with the estimates; JSON-able.

        Yields:
            What `files.estimates.writing_estimates` writes, part by part.

        Raises:
            MismatchError, InputError: as `reconstruct_batch`.
        """
        episodes, sampling = np.asarray(dataset.windows.episode_of_step), sampling_from(sampling, options)
        for number, (rows, kept) in _parts(len(steps)):
            histories = dataset.joint(steps[rows]).histories
            usable = self._usable_radius(histories, radius)
            found = self._reconstruct_chunk(histories, jax.random.fold_in(key, number), usable, sampling)
            present = steps[rows[:kept]]
            yield Estimates(
                estimates=np.asarray(found.state)[:kept],
                candidates=np.asarray(found.candidates)[:kept],
                shares=np.asarray(found.shares)[:kept],
                filled=np.asarray(found.mask)[:kept],
                accepted=np.asarray(found.accepted)[:kept],
                accepted_share=np.asarray(found.accepted_share)[:kept],
                steps=present,
                episodes=episodes[present],
                state_names=tuple(self.state_names),
                about=about or {},
            )

    def _reconstruct_chunk(self, histories, key, radius, sampling: Sampling) -> Reconstruction:
        """Estimates and checks of at most 256 joint histories."""
        histories = jnp.asarray(histories)
        estimate = reconstruct_batch(self.denoiser, histories, key=key, sampling=sampling)
        return self._in_own_units(estimate, certify_batch(self.denoiser, histories, estimate, radius=radius))

    def _usable_radius(self, histories, radius: float | ConformalRadius | None) -> float | ConformalRadius:
        """The radius to check with, if histories and radius can be used: refused before the work, not after it."""
        if histories.shape[-1] != self.layout.size:
            raise MismatchError(
                f"This model reads histories with {self.layout.size} columns, not {histories.shape[-1]}; "
                "encode them with the model's layout."
            )
        radius = self.radius if radius is None else radius
        if radius is None:
            raise InputError("This model's radius was not measured; give one to check the answer with.")
        check_radius(radius)
        return radius

    def _in_own_units(self, estimate: Estimate, certificate: Certificate) -> Reconstruction:
        return Reconstruction.of(estimate, certificate, self.scaling, self.state_names)

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


def _parts(count: int) -> Iterator[tuple[int, tuple[Int[np.ndarray, " rows"], int]]]:
    """The numbered parts in which joint histories are computed, all of one size; InputError if there are none."""
    if not count:
        raise InputError("There is no joint history to infer a state from; give at least one.")
    return enumerate(padded_batches(count, min(_AT_ONCE, count)))


def default_state_names(state_size: int) -> tuple[str, ...]:
    """The names of the state's features where none were given: "state 0", "state 1", …"""
    return tuple(f"state {index}" for index in range(state_size))


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
    told = in_words(trained_on, describe_differences(trained_on, given))
    if told:
        raise MismatchError(f"{what}: they differ in {told}; {advice}.")
