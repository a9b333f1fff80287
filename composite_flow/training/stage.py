"""One network of a model, and how it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import Pairs

HistoryRange = tuple[Float[Array, " history"], Float[Array, " history"]]


@dataclass(frozen=True)
class Stage:
    """One network of a model, and how it is trained.

    Attributes:
        name: of the network within the model.
        file: its checkpoint in the run's folder.
        number: folded into the run's key; None for the run's key itself.
        config: settings; minutes are this stage's share of them.
        total: planned steps; None where minutes alone decide.
        samples: what each step draws from: pairs, or joint histories.
        build: returns the untrained network, for a key; a pytree.
        losses: returns the loss of each sample, from (network, samples, states, key).
        drawn: samples of a step.
        judge: returns the quality of a network on held-out data, by name.
        silent: what is to be told once `speaking`, in the quality, is 0.
    """

    name: str
    file: str
    number: int | None
    config: TrainingConfig
    total: int | None
    samples: Pairs
    build: Callable[[PRNGKeyArray], Any]
    losses: Callable[..., Float[Array, " losses"]]
    drawn: int
    judge: Callable[[Any, Pairs], dict[str, float]]
    silent: str = "no answer says anything"
