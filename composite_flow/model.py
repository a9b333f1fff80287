"""A trained denoiser, what agents answer, or both, with all that it takes to use them: layout, scaling, radius."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.certificate.checks import certify, certify_batch
from composite_flow.certificate.radius import ConformalRadius, usable_radius
from composite_flow.certificate.reconstruction import Reconstruction
from composite_flow.certificate.verdict import Names
from composite_flow.composite.reconstruct import reconstruct, reconstruct_batch
from composite_flow.composite.sampling import Sampling, SamplingOptions, sampling_from
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.scaling import Scaling
from composite_flow.data.step_estimates import AT_ONCE, Inferred, estimates_of_steps
from composite_flow.denoiser import Denoiser, NoDenoiser
from composite_flow.errors import FileError, InputError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.estimates import Estimates
from composite_flow.fusion import learned
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.asking import Asked, Enough, ask
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.chain_estimate import ChainEstimate
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.learned import Histories, JointHistory, LearnedFusion
from composite_flow.fusion.one_estimate import fuse_one
from composite_flow.fusion.over_time.episode import FilteredEpisode
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.history import HistoryLayout
from composite_flow.network import Network, empty_network, network_settings
from composite_flow.numerics.batches import numbered_parts
from composite_flow.numerics.entry_point import entry_point

MODEL_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What training returns and `load` reads back.

    Attributes:
        denoiser: f_θ, shared by all agents.
        layout: sizes and columns of the histories that it reads.
        scaling: of states to [0, 1].
        radius: D_φ, scaled: the largest deviation of a fixed point from its state on validation pairs; None until then.
        curves: the learning curve, a dictionary per point.
        state_names: a name for each feature of the state.
        description: anything else worth keeping, such as settings, split and `units` of features; JSON-able.
        fusion: what each agent answers, and all that was learned beside; None where it was not learned.
    """

    denoiser: Denoiser
    layout: HistoryLayout
    scaling: Scaling
    radius: float | None
    curves: tuple[dict[str, int | float], ...]
    state_names: tuple[str, ...]
    description: dict[str, Any]
    fusion: LearnedFusion | None = None

    @property
    def answers(self) -> Answers | None:
        """The network that says what each agent answers; None where fusion was not learned."""
        return None if self.fusion is None else self.fusion.answers

    @property
    def chain(self) -> ChainNetwork | None:
        """The network of the gated chain; None where it was not learned."""
        return None if self.fusion is None else self.fusion.chain

    @property
    def names(self) -> Names:
        """Of the state's features and of the agents."""
        return Names(tuple(self.state_names), self.layout.agent_names or ())

    @property
    def has_denoiser(self) -> bool:
        """Whether a denoiser was learned."""
        return not isinstance(self.denoiser, NoDenoiser)

    def fuse(
        self, histories: JointHistory, participants: Sequence[int | str] | None = None, *, robust: bool | float = False
    ) -> TeamEstimate:
        """Infer the state by fusion, in its own units: each participant answers once, and the answers add up.

        Args:
            histories: the agents' histories, encoded by `layout`.
            participants: the agents whose answers count, by name or index; by default all who are there.
            robust: leave out those who contradict all others or whose histories are unlike training; the estimate's
                `doubts` say whom. A level, 0.99 by default, is the share of sound teams' steps in which nobody is.

        Raises:
            MismatchError, InputError: another layout; no fusion, or calibration; participants empty, unknown, twice.
        """
        fusion, heard = self._learned_fusion(histories, many=False), self.layout.agents_there(histories, participants)
        return fuse_one(fusion, histories, heard, self.scaling, self.names, robust)

    def fuse_batch(
        self, histories: Histories, participants: learned.Participants | None = None, **options: Unpack[learned.Checks]
    ) -> TeamEstimate:
        """`fuse` many joint histories, each with its own participants; agents are checked where options say so."""
        fusion = self._learned_fusion(histories, many=True)
        return fusion.fuse(histories, participants, self.scaling, self.names, **options)

    def ask(self, histories: JointHistory, *, heard: Sequence[int | str] = (), **enough: Unpack[Enough]) -> Asked:
        """`fuse`, asking one agent after the other, each time whose answer is expected to help most.

        Who is `heard` has answered already. It is `enough` at an `accuracy`, a `price` or a number, or asks all.
        """
        fusion, asked = self._learned_fusion(histories, many=False), self.layout.agents_there(histories, heard)
        return ask(fusion, histories, asked or (), self.scaling, self.names, enough)

    def infer_by_chain(
        self, histories: JointHistory | Histories, participants: Sequence[int | str] | None = None
    ) -> ChainEstimate:
        """Infer the state by the gated chain: one message goes once through the agents, and each changes what it knows.

        Arguments and errors as of `fuse`; histories may be many, participants are in the message's order (from 0 on).
        """
        fusion, histories = self._learned_fusion(histories, "chain"), self.layout.in_place_of_absent(histories)
        heard = self.layout.agents_there(histories, participants)
        return fusion.infer_by_chain(histories, heard, self.scaling, self.state_names)

    def sample(
        self,
        histories: JointHistory,
        num_samples: int,
        *,
        key: PRNGKeyArray,
        participants: Sequence[int | str] | None = None,
        by: learned.Sampler = "conditional",
    ) -> Float[Array, "samples state"]:
        """Samples of p(s | the participants' histories), in the state's own units; other arguments as in `fuse`.

        Args:
            num_samples: how many; each takes some calls of the team denoiser, and no further answer.
            by: along falling noise levels ("conditional", 30 calls), or by flows as the paper's ("blind", 20).
        """
        fusion, heard = self._learned_fusion(histories, many=False), self.layout.agents_there(histories, participants)
        return self.scaling.unscale(fusion.sample(histories, num_samples, heard, by, key))

    def filter(
        self, histories: Histories, participants: Any = None, *, key: PRNGKeyArray | None = None
    ) -> FilteredEpisode:
        """What the team knows at each step of an episode, in the state's own units, by the filter that was learned.

        Args:
            histories: (steps, agents, columns), from the first step on; errors as in `fuse`.
            participants: who is heard at each step, booleans (steps, agents); by default all who are there.
            key: draws the orders in which chains go round.
        """
        fusion, key = self._learned_fusion(histories, many=True), jax.random.key(0) if key is None else key
        return fusion.filter(histories, participants, self.scaling, self.state_names, key)

    def reconstruct(
        self,
        histories: JointHistory,
        *,
        key: PRNGKeyArray,
        radius: float | ConformalRadius | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Reconstruction:
        """Infer the state from a joint history, and check the answer (A.6); who is not there takes no part.

        Args:
            histories: the agents' histories, encoded by `layout`; MismatchError where they are not.
            key: random key; fixes the noises and the orders.
            radius: D_φ by hand, in scaled units, or a conformal radius of this model; the model's own by default.
            sampling, options: as in `composite.reconstruct`; options replace fields, and agents have names or numbers.
        """
        self.layout.check_joint(histories, False)
        radius = usable_radius(self.denoiser, radius, self.radius)  # refused before the work, not after it
        histories, told = self.layout.in_place_of_absent(histories), sampling_from(sampling, options, self.layout.agent)
        estimate = reconstruct(self.denoiser, histories, key=key, sampling=told)
        certificate = certify(self.denoiser, histories, estimate, radius=radius)
        return Reconstruction.of(estimate, certificate, self.scaling, self.names)

    def reconstruct_batch(
        self,
        histories: Histories,
        *,
        key: PRNGKeyArray,
        radius: float | ConformalRadius | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Reconstruction:
        """`reconstruct` many joint histories, the leading axis of all arrays, each with noises and orders of its own.

        The result holds `agents` × `samples` × `state` numbers and more for each; `reconstruct_steps` keeps less.
        """
        sampling, parts = sampling_from(sampling, options, self.layout.agent), []
        for number, (rows, kept) in numbered_parts(len(histories), AT_ONCE):
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
        """`reconstruct_batch` at steps of a dataset, 256 at a time, for `writing_estimates`; `about` is JSON-able."""
        sampling = sampling_from(sampling, options, self.layout.agent)

        def infer(histories, number: int) -> Inferred:
            found = self._reconstruct_chunk(histories, jax.random.fold_in(key, number), radius, sampling)
            arrays = {"filled": found.mask, "accepted": found.accepted, "accepted_share": found.accepted_share}
            return found.state, {**arrays, "candidates": found.candidates, "shares": found.shares}

        return estimates_of_steps(dataset, steps, infer, self.state_names, about)

    def fuse_steps(
        self,
        dataset: HistoryDataset,
        steps: Int[np.ndarray, " joint"],
        *,
        about: dict[str, Any] | None = None,
        **options: Unpack[learned.FusedOptions],
    ) -> Iterator[Estimates]:
        """Infer the states at some steps of a dataset by fusion, or as `by` says; else as `reconstruct_steps`."""

        def infer(histories, number: int) -> Inferred:
            fusion = self._learned_fusion(histories, by := options.get("by"))
            heard = self.layout.in_place_of_absent(histories) if by == "chain" else histories
            return fusion.infer(heard, number, self.scaling, **options)

        return estimates_of_steps(dataset, steps, infer, self.state_names, about)

    def _reconstruct_chunk(self, histories, key, radius, sampling: Sampling) -> Reconstruction:
        """Estimates and checks of at most 256 joint histories."""
        self.layout.check_joint(histories, True)
        radius, histories = usable_radius(self.denoiser, radius, self.radius), self.layout.in_place_of_absent(histories)
        estimate = reconstruct_batch(self.denoiser, histories, key=key, sampling=sampling)
        certificate = certify_batch(self.denoiser, histories, estimate, radius=radius)
        return Reconstruction.of(estimate, certificate, self.scaling, self.names)

    def _learned_fusion(self, histories, by: str | None = None, many: bool | None = None) -> LearnedFusion:
        """What fuses these histories, if it was learned and can read them."""
        self.layout.check_joint(histories, many)
        if self.fusion is None:
            raise lacking("chain" if by == "chain" else "fusion")
        return self.fusion

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Write `model.safetensors` into a folder; FileError where it is in the way or cannot be written."""
        network = network_settings(self.denoiser) if isinstance(self.denoiser, Network) else None
        description = {"kind": "model", "network": network, "layout": self.layout.settings}
        description |= {one: getattr(self, one) for one in _DESCRIBED} | {"scaled_in": str(self.scaling.minimum.dtype)}
        description |= {} if self.has_denoiser else {"learned_no_denoiser": True}
        tree: dict[str, Any] = {"denoiser": self.denoiser, "scaling": self.scaling}
        if self.fusion is not None:
            description["fusion"], tree["fusion"] = self.fusion.settings, self.fusion
        save_checkpoint(Path(folder) / MODEL_FILE, tree, description, overwrite)


_DESCRIBED = ("radius", "curves", "state_names", "description")  # fields in the file's description


@entry_point
def load(folder: str | os.PathLike, denoiser: Denoiser | None = None) -> Model:
    """Read the model that a run wrote.

    Args:
        folder: of the run.
        denoiser: of the same structure, where it is of one's own class; InputError where it is and is not given.

    Raises:
        FileError: the file is missing, damaged, or not a model.
    """
    stored = load_description(path := Path(folder) / MODEL_FILE)
    if stored.get("kind") != "model":
        raise FileError(f"{path} is not a model.")
    size = len(stored["state_names"])
    if stored.get("learned_no_denoiser"):
        denoiser = NoDenoiser(size)
    elif denoiser is None:
        if stored["network"] is None:
            raise InputError(f"{path} holds a denoiser of another class; give `load` one of the same structure.")
        denoiser = empty_network(stored["network"])
    tree: dict[str, Any] = {"denoiser": denoiser, "scaling": Scaling.empty(size, stored.get("scaled_in", "float32"))}
    if "fusion" in stored:
        tree["fusion"] = LearnedFusion.empty(stored["fusion"])
    told = {name: tuple(stored[name]) if isinstance(stored[name], list) else stored[name] for name in _DESCRIBED}
    return Model(layout=HistoryLayout.from_settings(stored["layout"]), **told, **load_checkpoint(path, tree))
