"""Hidden states that share their features count as one state."""

import numpy as np
from jaxtyping import Float, Int


def distinct_states(
    hidden: Float[np.ndarray, "hidden state"],
) -> tuple[Float[np.ndarray, "states state"], Int[np.ndarray, " hidden"]]:
    """Each state's features once, in the order in which they first appear, and each hidden state's place there."""
    _, first, labels = np.unique(hidden, axis=0, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return hidden[np.sort(first)], place[labels.ravel()]
