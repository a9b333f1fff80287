"""Settings of MAPPO, and of how agents infer the state while they act.

MAPPO's defaults are those of Yu et al. 2022 for SMAC, as in their code for SMACv2:

Yu, Velu, Vinitsky, Gao, Wang, Bayen, Wu: The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games (NeurIPS
2022). Where our defaults or our algorithm differ, it is because:

- Worlds and steps per update: 32 × 100 instead of 8 × 400, the same batch; many small worlds are cheap in one program.
- The value is the team's, one per world, from the state alone: all agents share the reward, so that values of single
  agents (theirs add the agent's own features) would have the same target. The critic then costs the same for any team.
- An agent counts in the policy's loss, in the entropy and in the normalisation of advantages where it has a choice
  (more than one available action), instead of where it is alive, which a problem here does not tell; in SMAC the dead
  have one action. Dead agents' inputs to the critic (their "death masking") do not exist here.
- A 0 and a 1 stand beside the inputs that are layer-normalised, so that small inputs keep their level and scale.
- Layer normalisations have no weights of their own: the linear map behind each can do the same (`sequence_network.py`).
- Minibatches, where there is more than one, keep a world's agents together.
- The value's loss has no coefficient (theirs is 1): the critic has an optimiser of its own.
"""

import dataclasses
import math
from typing import Any, Literal

from composite_flow.errors import InputError
from composite_flow.files.plain_json import LATER, jsonable
from composite_flow.policy.inputs import OWN_ALONE, input_class
from composite_flow.policy.sequence_network import MemoryKind

_MAY_BE_ZERO = ("warm", "lost", "denoiser_updates", "chain_updates", "denoiser_average")


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
    lost: float = dataclasses.field(default=0.0, metadata=LATER)
    """Chance that a message of the team is lost while a policy learns; afterwards `evaluate-policy --lost` says it."""
    level: float = 0.25
    """Of the quantile, and the worst share that CVaR takes the mean of."""
    denoiser_width: int = 256
    """Units of each hidden layer of the denoiser."""
    denoiser_depth: int = 4
    """Number of its hidden layers."""
    denoiser_updates: float = 0.0025
    """Steps of its optimiser per step of the environment; with 0 a denoiser that was given stays as it is."""
    chain_updates: float = dataclasses.field(default=0.0, metadata=LATER)
    """The same of a chain over time, which stays as it was learned before where this is 0."""
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
            if value == 0 and field.name not in _MAY_BE_ZERO:
                raise InputError(f"The setting {field.name} must be positive.")
        for name in ("lost", "level", "denoiser_average"):
            if getattr(self, name) >= 1:
                raise InputError(f"The setting {name} must be below 1, not {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class MappoConfig:
    """Settings of MAPPO; the command line takes its options from here.

    Raises:
        InputError: a setting is out of range, or numbers do not divide each other as they must.
    """

    steps: int | float = 10_000_000
    """Budget in steps of the environment, all worlds together; rounded up to whole updates."""
    inputs: str = dataclasses.field(default=OWN_ALONE, metadata=LATER)
    """What the actor sees: its own observation alone, all observations, or also the state: true ("state"), inferred by
    each agent ("denoised") or by all together ("composite"), the one of least value among several ("safe"), or each
    action's value over several ("mean", "quantile", "cvar"); what a chain carries over time ("belief", "own-belief");
    messages that the policy's own gradient teaches ("learned-messages"); MODULE:CLASS for an input of your own."""
    samples_of: Literal["own", "team"] = dataclasses.field(default="own", metadata=LATER)
    """Whose distribution "safe", "mean", "quantile" and "cvar" draw states from: the agent's own, without messages; or
    the team's joint posterior, by the team denoiser of a run of fusion, for which all tell all their answers."""
    own_observation: bool = dataclasses.field(default=True, metadata=LATER)
    """Whether an agent's own observation stands beside the state that it sees; in the paper the state stands alone."""
    memory: MemoryKind = "gru"
    """Memory of actor and critic over the steps of an episode."""
    width: int = 64
    """Units of each hidden layer and of the memory."""
    actor_width: int | None = dataclasses.field(default=None, metadata=LATER)
    """Units of the actor's hidden layers and memory, where they are not the critic's."""
    depth: int = 2
    """Number of hidden layers before the memory."""
    worlds: int = 32
    """Worlds that run at once."""
    rollout: int = 100
    """Steps of each world between two updates."""
    piece: int = 10
    """Steps through which the memory's gradients reach back; the rollout is learned from in such pieces."""
    epochs: int = 5
    """Passes over a rollout."""
    minibatches: int = 1
    """Parts of a rollout, each of which makes one step of the optimisers in a pass."""
    learning_rate: float = 5e-4
    """Adam's rate for the actor."""
    critic_learning_rate: float = 5e-4
    """Adam's rate for the critic."""
    schedule: Literal["constant", "linear"] = "constant"
    """Whether both rates stay, or fall to zero over the budget."""
    adam_epsilon: float = 1e-5
    """Adam's ε."""
    gradient_norm: float = 10.0
    """Longer gradients are shortened to this norm."""
    discount: float = 0.99
    """γ, the weight of the next step's reward."""
    trace: float = 0.95
    """λ of generalised advantage estimation."""
    clip: float = 0.2
    """ε by which probabilities (as ratios) and values may move in the losses."""
    entropy: float = 0.01
    """Weight of the entropy in the actor's loss."""
    huber: float = 10.0
    """Error of the value from which its loss grows linearly."""
    output_gain: float = 0.01
    """Gain of the actor's last layer; small, so that it starts with all actions about equally likely."""
    value_decay: float = 0.99999
    """β of the running statistics of returns."""
    checkpoint_seconds: float = 60.0
    """Time between two checkpoints."""
    inference: InferenceConfig = dataclasses.field(default=InferenceConfig(), metadata=LATER)
    """How agents infer the state, where they do."""

    def flat(self) -> dict[str, Any]:
        """The settings by their names, as records keep them: those of inference that came later only where they are
        not at their defaults."""
        return {**dataclasses.asdict(self), "inference": jsonable(self.inference)}

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                continue
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
                raise InputError(f"The setting {field.name} must be finite and not negative, not {value}.")
            if value == 0 and field.name not in ("entropy", "discount", "trace", "checkpoint_seconds"):
                raise InputError(f"The setting {field.name} must be positive.")
        if self.samples_of == "team" and not input_class(self.inputs).weighs_samples:
            raise InputError(
                f"The input '{self.inputs}' does not weigh several states: samples_of = team is for inputs that do, "
                "such as safe, mean, quantile and cvar."
            )
        if input_class(self.inputs).needs_state_values and self.memory == "gru":
            needs = "needs V(s) of single states, so a critic without memory: memory = none"
            raise InputError(f"The input '{self.inputs}' {needs}.")
        for name in ("discount", "trace"):
            if getattr(self, name) > 1:
                raise InputError(f"The setting {name} must lie in [0, 1], not {getattr(self, name)}.")
        if self.value_decay >= 1:
            raise InputError(f"The setting value_decay must be below 1, not {self.value_decay}.")
        if self.rollout % self.piece:
            raise InputError(f"The setting rollout ({self.rollout}) must be a multiple of piece ({self.piece}).")
        if self.num_pieces % self.minibatches:
            raise InputError(f"A rollout's {self.num_pieces} pieces do not make {self.minibatches} equal minibatches.")

    @property
    def piece_length(self) -> int:
        """Steps of a piece; without a memory every step stands for itself."""
        return self.piece if self.memory == "gru" else 1

    @property
    def num_pieces(self) -> int:
        """Pieces of a rollout, over all worlds."""
        return self.worlds * self.rollout // self.piece_length

    @property
    def steps_per_update(self) -> int:
        """Steps of the environment between two updates."""
        return self.worlds * self.rollout

    @property
    def num_updates(self) -> int:
        """Updates that the budget allows."""
        return max(1, math.ceil(self.steps / self.steps_per_update))
