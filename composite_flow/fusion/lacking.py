"""The error of a model that was not taught what it is asked for: the command and the settings that add it."""

from typing import Literal

from composite_flow.errors import InputError

_ADDED_BY = {
    "fusion": (),
    "chain": ("--chain", "chain=True"),
    "filter": ("--over-time residual", 'over_time="residual"'),
    "way to tell whom to ask": ("--next-agent", "next_agent=True"),
}


Lacking = Literal["fusion", "chain", "filter", "way to tell whom to ask"]


def lacking(what: Lacking = "fusion", *, fusion: bool = True) -> InputError:
    """The error to raise.

    Args:
        what: what the model did not learn.
        fusion: whether it did not learn fusion either, beside which all others are learned.
    """
    parts = [("--learn both", 'learn="both"')] * fusion + [_ADDED_BY[what]] * (what != "fusion")
    options, settings = " ".join(option for option, _ in parts), ", ".join(setting for _, setting in parts)
    return InputError(
        f"This model learned no {what}; `composite-flow train DATA --out RUN --resume {options}` adds it, as "
        f"`fit(..., resume=True)` does with TrainingConfig({settings})."
    )
