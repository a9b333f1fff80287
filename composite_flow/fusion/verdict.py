"""The verdict on what a team says together."""

import numpy as np

from composite_flow.certificate.verdict import Names, Reason, Verdict, refused
from composite_flow.fusion.doubts import UNFAMILIAR, Doubts


def verdict_on(doubts: Doubts, uncertainty: float, widest: float, names: Names) -> Verdict:
    """Sensors first, since a broken one can make an estimate look sure.

    Args:
        doubts: of one estimate.
        uncertainty: how far the state is expected to lie from the mean.
        widest: the largest that is usual for a team of this size; infinite where it was not measured.
        names: of the features and the agents.
    """
    left_out = np.flatnonzero(np.asarray(doubts.left_out)).tolist()
    without = "".join(f"; {why}" for why in doubts.in_words(names))
    if doubtful := np.flatnonzero(np.asarray(doubts.in_doubt)).tolist():
        worst = max(doubtful, key=lambda agent: float(doubts.values[agent]))
        alone = doubts.reason(worst, len(names.states)) in UNFAMILIAR
        reason: Reason = "unlike training" if alone else "sensors in doubt"
        return refused(reason, tuple(doubtful), f"{doubts.why(worst, names)}{without}")
    if uncertainty > widest:
        wide = f"an error of {uncertainty:.3g} is expected, scaled, and {widest:.3g} at most is usual for such a team"
        return refused("too wide", tuple(left_out), f"{wide}{without}")
    return Verdict(True, "", tuple(left_out), f"Accepted{without}.")
