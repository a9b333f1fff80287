"""Settings of a training run."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.errors import InputError
from composite_flow.files.plain_json import LATER
from composite_flow.network import Activation, HistoryAt, InitialWeights
from composite_flow.training.flow_loss import CANDIDATES, FlowLosses
from composite_flow.training.loss import pair_losses
from composite_flow.training.optimiser import MatmulPrecision, Schedule

DEFAULT_STEPS = 10_000
Learn = Literal["denoiser", "fusion", "both"]
STAGES: dict[Learn, tuple[str, ...]] = {
    "denoiser": ("denoiser",),
    "fusion": ("answers", "team_denoiser", "chain", "over_time", "next_agent"),
    "both": ("denoiser", "answers", "team_denoiser", "chain", "over_time", "next_agent"),
}
"""The networks that are trained one after the other; the last four where settings of their names say so."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run; the command line takes its options from here.

    The budget is given by `steps` or `epochs`, by `minutes`, or by one of the first two with `minutes` as a limit. With
    the cosine schedule, the learning rate reaches zero at the end that comes first.

    Raises:
        InputError: a setting is out of range, or both `steps` and `epochs` are given.
    """

    learn: Learn = dataclasses.field(default="denoiser", metadata=LATER)
    """What is learned: the denoiser of composite diffusion, fusion (what each agent answers, and adds up), or both,
    one after the other. Each part, also the samples of fusion, has the whole budget in steps or epochs; minutes are
    divided among them."""
    width: int = 1024
    """Units of each hidden layer."""
    depth: int = 6
    """Number of hidden layers."""
    history_at: HistoryAt = "every_layer"
    """Where the network sees the history: in every hidden layer, or at the input (the paper)."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""
    initial: InitialWeights = "uniform"
    """Initial weights; "identity" carries y through the layers, for states of a hundred features or more."""
    batch: int = 512
    """Pairs (history, state) per step."""
    flow_points: int = dataclasses.field(default=0, metadata=LATER)
    """Additional points per step, an even number up to the batch. They lie where flows go but the noisy states of
    Eq. (1) do not, and help partial flows over states that occur again and again (flow_loss.py)."""
    learning_rate: float = 1e-3
    """Adam's highest rate."""
    warmup: int = 500
    """Steps over which the rate rises from zero; high rates need it."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The rate after the warmup: it falls to zero along a cosine over the budget, or it stays constant."""
    steps: int | None = None
    """Budget in optimiser steps; 10,000 if no budget is given."""
    epochs: int | float | None = None
    """Budget in passes over all pairs of the training data."""
    fusion_steps: int | None = dataclasses.field(default=None, metadata=LATER)
    """Budget of fusion in optimiser steps, where it is another: answers learn in fewer steps than a denoiser."""
    team_denoiser: bool = dataclasses.field(default=True, metadata=LATER)
    """Fusion also learns to draw samples of what the team knows together, in as many steps again (the default); or it
    does not. Never for large states."""
    chain: bool = dataclasses.field(default=False, metadata=LATER)
    """Whether fusion also learns the gated chain: one message of the state's size goes through the agents in turn."""
    over_time: Literal["none", "residual", "gated", "product"] = dataclasses.field(default="none", metadata=LATER)
    """Whether fusion also learns to carry what a team knows from step to step, and how: by a residual or gated chain,
    one message that goes through the agents and on to the next step, or by a product, whose answers add up."""
    segment: int = dataclasses.field(default=5, metadata=LATER)
    """Consecutive steps that a filter learns from together."""
    lost: float = dataclasses.field(default=0.0, metadata=LATER)
    """Most of the answers that are lost while a filter learns; each step draws its share between 0 and this."""
    alone: float = dataclasses.field(default=0.0, metadata=LATER)
    """Share of the segments in which one agent, drawn for each, is heard alone: with 1 a filter learns what each agent
    can carry by itself."""
    next_agent: bool = dataclasses.field(default=False, metadata=LATER)
    """Whether fusion also learns whom to ask next: by how much each agent's answer is expected to lower the error,
    before it is heard. At most 3,000 steps; not for large states."""
    watch_steps: int = dataclasses.field(default=0, metadata=LATER)
    """Steps in which fusion also learns whether an agent's history goes with what the others say, such as 6,000: broken
    sensors that no single feature betrays are then named. They come on top of any budget."""
    minutes: int | float | None = None
    """Budget in minutes of training, without evaluations; such a run is not reproducible to the bit."""
    average: float = 0.999
    """Decay of the averaged weights, which the denoiser uses in place of the last weights; 0 switches this off."""
    record_every: int = 200
    """Steps between two points of the learning curve."""
    evaluate_every: int = 2000
    """Steps between two evaluations; a multiple of record_every."""
    checkpoint_seconds: float = 60.0
    """Time between two checkpoints."""
    resident_gigabytes: float = 1.0
    """Size of the portions of training data that are read from disk. After every evaluate_every steps training uses
    another portion, and the next one is read meanwhile, so two portions are in memory."""
    precision: MatmulPrecision = dataclasses.field(default="float32", metadata=LATER)
    """Type of the factors of matrix products in training. "bfloat16" is faster on GPUs; sums and weights stay in
    float32."""

    def __post_init__(self):
        if self.steps is not None and self.epochs is not None:
            raise InputError("Give the budget in steps or in epochs, not in both.")
        for name in (
            "width",
            "depth",
            "batch",
            "learning_rate",
            "warmup",
            "steps",
            "fusion_steps",
            "segment",
            "epochs",
            "minutes",
            "record_every",
            "evaluate_every",
            "resident_gigabytes",
        ):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"The setting {name} must be positive, not {value}.")
        if self.learn not in STAGES:
            raise InputError(f"The setting learn must be one of {', '.join(STAGES)}, not {self.learn!r}.")
        if not 0.0 <= self.average < 1.0:
            raise InputError(f"The setting average must lie in [0, 1), not {self.average}.")
        if self.evaluate_every % self.record_every:
            raise InputError("The setting evaluate_every must be a multiple of record_every.")
        if not 0.0 <= self.lost < 1.0:
            raise InputError(f"The setting lost must lie in [0, 1), not {self.lost}.")
        if not 0.0 <= self.alone <= 1.0:
            raise InputError(f"The setting alone must lie in [0, 1], not {self.alone}.")
        if self.watch_steps < 0:
            raise InputError(f"The setting watch_steps must be 0 or more, not {self.watch_steps}.")
        if self.flow_points % 2 or not 0 <= self.flow_points <= self.batch:
            raise InputError(
                f"The setting flow_points must be an even number up to the batch, {self.batch}, not {self.flow_points}."
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """The networks to train, one after the other."""
        chosen = {"team_denoiser": self.team_denoiser, **self._beside}
        return tuple(name for name in STAGES[self.learn] if chosen.get(name, True))

    @property
    def _beside(self) -> dict[str, bool]:
        """What is learned beside answers, where it is asked for."""
        return {"chain": self.chain, "over_time": self.over_time != "none", "next_agent": self.next_agent}

    def check_learned(self) -> None:
        """Refuse what would not be learned; called once the settings of a run that is resumed are known.

        Raises:
            InputError: the chain, a filter or whom to ask is to be learned without fusion.
        """
        beside = [name for name, wanted in self._beside.items() if wanted]
        if beside and "answers" not in self.stages:
            raise InputError(
                f'The setting {beside[0]} is learned beside fusion: set learn to "fusion" or "both", or leave it out.'
            )

    @property
    def learns_denoiser(self) -> bool:
        """Whether a denoiser is among them."""
        return "denoiser" in self.stages

    @property
    def drawn(self) -> int:
        """Number of pairs that a step draws from the data."""
        return self.batch * (1 + CANDIDATES) if self.flow_points else self.batch

    @property
    def losses(self) -> Callable[..., Float[Array, " losses"]]:
        """The function that returns the losses of the pairs of a step, from (network, histories, states, key)."""
        return FlowLosses(self.batch, self.flow_points) if self.flow_points else pair_losses

    def rate_schedule(self, total_steps: int | None, elapsed: float = 0.0) -> Schedule:
        """The schedule of the learning rate.

        Args:
            total_steps: the planned number of steps; None where minutes alone decide.
            elapsed: share of the budget in minutes that is used.
        """
        falls = self.schedule == "cosine"
        per_step = 1.0 / total_steps if falls and total_steps is not None else 0.0
        numbers = (self.learning_rate, float(self.warmup), per_step, elapsed if falls else 0.0)
        return Schedule(*(jnp.array(number) for number in numbers))

    def total_steps(self, num_samples: int, batch: int | None = None) -> int | None:
        """Planned optimiser steps for this many samples of training data; None where minutes alone decide.

        Args:
            num_samples: pairs, or joint histories, of the training data.
            batch: samples of a step; `batch` of these settings where not given.
        """
        if self.epochs is not None:
            return math.ceil(self.epochs * num_samples / (batch or self.batch))
        if self.steps is None and self.minutes is not None:
            return None
        return self.steps or DEFAULT_STEPS
