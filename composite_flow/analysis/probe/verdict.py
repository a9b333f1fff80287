"""What the figures come to, in one plain sentence."""

from dataclasses import dataclass

from composite_flow.analysis.probe.earned import Earned

SHARE = 0.05
"""Of the largest value: what adds less is called little."""


@dataclass(frozen=True)
class Worth:
    """What something adds to what an episode earns.

    Attributes:
        value: the difference.
        error: by which chance may change it, at 95%.
    """

    value: float
    error: float


def worth(more: Earned | None, less: Earned | None) -> Worth | None:
    """What the one adds to the other; None where either is not known."""
    if more is None or less is None:
        return None
    return Worth(more.value - less.value, (more.width**2 + less.width**2) ** 0.5)


def verdict(earned: dict[str, Earned | None]) -> str:
    """The sentence; where short runs had not finished learning, that nothing can be said.

    Args:
        earned: what acting on each of `PARTS` earns; None where it is not known.
    """
    rising = [name for name, each in earned.items() if each is not None and each.still_rising]
    if rising:
        whose = " and ".join(rising)
        return f"Too early to say: acting on {whose} was still learning when its time was over; give more seconds."
    return _sentence(earned)


def _sentence(earned: dict[str, Earned | None]) -> str:
    own, memory, team, state = (earned[name] for name in ("own", "own-memory", "all-memory", "state"))
    known = [each.value for each in earned.values() if each is not None]
    little = SHARE * max(map(abs, known), default=0.0)
    of_state, of_memory, of_others = worth(state, own), worth(memory, own), worth(team, memory)
    if of_state is None:
        return "What the state is worth was not found: give short runs more seconds than 0."
    told = f"The state is worth {of_state.value:.3g} an episode here"
    if not _counts(of_state, little):
        return f"{told}, no more than {_because(of_state, little)}: inference does not pay."
    if memory is None or of_memory is None or of_others is None:
        return f"{told}; what a memory has of it was not found: give short runs more seconds than 0."
    most = "at most " if memory.how == "at least" else ""  # as more may be possible from memories alone
    told += f", a memory {of_memory.value:.3g}, and what the others see {most}{of_others.value:.3g} more"
    if _counts(of_others, little):
        return f"{told}: inferring it together pays."
    if _counts(of_memory, little):
        return f"{told}: a memory does nearly as well as inference."
    return f"{told}: the state is worth much, but what agents see does not tell it."


def _counts(found: Worth, little: float) -> bool:
    return found.value > max(little, found.error)


def _because(found: Worth, little: float) -> str:
    return f"chance ({found.error:.2g})" if found.error >= little else f"a twentieth of what is earned ({little:.2g})"
