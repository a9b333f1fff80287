"""How a team infers: the rule, and its options; the same for all members, with JAX and without. NumPy alone."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from composite_flow.errors import InputError

By = Literal["broadcast", "tree", "ring", "chain"]
RULES: tuple[By, ...] = ("broadcast", "tree", "ring", "chain")

_RETRAIN = "`composite-flow train DATA --out RUN --resume --over-time"


@dataclass(frozen=True)
class Inference:
    """How a team infers; the same for all its members.

    Attributes:
        by: each agent's answer sent to all; running sums along a tree; or round a ring composite diffusion, or once the
            gated chain.
        max_age: steps for which an answer counts after its own; by broadcast alone.
        level: of intervals.
        robust: leave out those whose answers contradict all others'; by broadcast alone.
        num_samples, num_sweeps: of composite diffusion, round a ring.
        seed: of the noises and orders round a ring.
        over_time: carry what the team knows from step to step: a product filter by broadcast, a chain round a ring.
    """

    by: By = "broadcast"
    max_age: int = 0
    level: float = 0.9
    robust: bool = False
    num_samples: int = 4
    num_sweeps: int = 6
    seed: int = 0
    over_time: bool = False

    def check(self, carries: str | None) -> None:
        """Refuse what does not go together.

        Args:
            carries: the kind of filter that the model learned: product, residual, or gated; None where it has none.

        Raises:
            InputError: with what to ask for instead.
        """
        if self.over_time:
            self._check_carried(carries)
        if self.by == "chain" or (self.over_time and self.by == "ring"):
            self._refuse("A chain's message goes once round the ring", "num_samples", "num_sweeps", "max_age", "robust")

    def _check_carried(self, carries: str | None) -> None:
        """Nothing is said where the model carries nothing: whoever carries says so."""
        if self.robust:
            raise InputError("What is carried over time holds all answers: --robust has no meaning there.")
        if carries == "product" and self.by != "broadcast":
            raise InputError(
                f"This model carries a product of answers, which goes with --rule broadcast, not {self.by}; a chain "
                f"over time goes round a ring: {_RETRAIN} residual`."
            )
        if carries in ("residual", "gated") and self.by != "ring":
            raise InputError(
                f"This model carries a chain's message, which goes with --rule ring, not {self.by}; answers that add "
                f"up over time are of a product filter: {_RETRAIN} product`."
            )

    def _refuse(self, why: str, *names: str) -> None:
        """InputError where one of these options is not its default."""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self)}
        asked = [name for name in names if getattr(self, name) != defaults[name]]
        if asked:
            words = " and ".join("--" + name.removeprefix("num_").replace("_", "-") for name in asked)
            raise InputError(f"{why}, where {words} {'has' if len(asked) == 1 else 'have'} no meaning.")
