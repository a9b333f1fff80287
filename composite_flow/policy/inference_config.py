"""Settings of how agents infer the state while they act, and of the denoiser that learns along with the policy."""

import dataclasses
import math

from composite_flow.errors import InputError


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """Settings of inference in the loop; without effect where the actor's input has no inferred state.

    Raises:
        InputError: a setting is out of range.
    """

    history: int = 5
    """Observations that a local history holds (H)."""
    calls: int = 4
    """Calls of the denoiser that each agent makes in a step of the environment."""
    samples: int = 8
    """States that an agent draws from its inferred distribution, for the inputs that weigh several of them."""
    warm: bool = True
    """Whether a step starts from the estimate of the step before, instead of from noise."""
    level: float = 0.25
    """Of the quantile, and the worst share that CVaR takes the mean of."""
    denoiser_width: int = 256
    """Units of each hidden layer of the denoiser."""
    denoiser_depth: int = 4
    """Number of its hidden layers."""
    denoiser_updates: float = 0.0025
    """Steps of its optimiser per step of the environment; with 0 a denoiser that was given stays as it is."""
    denoiser_batch: int = 256
    """Pairs (history, state) per step of its optimiser."""
    denoiser_learning_rate: float = 1e-3
    """Adam's rate for it, after 200 steps in which it rises from zero."""
    denoiser_average: float = 0.99
    """Decay of its averaged weights, which are those that infer."""
    replay: int = 100_000
    """Latest steps of the environment that it learns from, all worlds together; rounded to whole rollouts."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"The setting {field.name} must be finite and not negative, not {value}.")
            if value == 0 and field.name not in ("warm", "denoiser_updates", "denoiser_average"):
                raise InputError(f"The setting {field.name} must be positive.")
        for name in ("level", "denoiser_average"):
            if getattr(self, name) >= 1:
                raise InputError(f"The setting {name} must be below 1, not {getattr(self, name)}.")
