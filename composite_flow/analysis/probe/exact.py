"""What a team earns in an episode that acts on the state, or on the belief that all histories give: exactly.

Policies are the best under the discount γ, found backwards from the episode's end:

    state     Q_t(s, a) = R(s, a) + γ Σ_s' P(s' | s, a) max_a' Q_{t+1}(s', a')
    belief    Q_t(b, a) = Σ_s b(s) R(s, a) + γ Σ_o P(o | b, a) max_a' Q_{t+1}(b_{a,o}, a')

over the beliefs b that an episode can reach. What is told is what they earn without a discount. Among actions that are
equally good the one is taken that earns more in the end, so that the answer does not depend on an order.
"""

import numpy as np
from jaxtyping import Float, Int

from composite_flow.problems.decision_tables import MOST_ENTRIES, DecisionTables

_SAME = 1e-9  # relative difference below which two values are one
_DIGITS = 10  # by which beliefs are told apart


def value_of_state(tables: DecisionTables, discount: float) -> float:
    """What acting on the state earns."""
    counted = earned = np.zeros(len(tables.initial))
    for _ in range(tables.num_steps):
        best = tables.rewards + discount * (tables.transition @ counted).T
        counted, earned = chosen(best, tables.rewards + (tables.transition @ earned).T)
    return float(tables.initial @ earned)


def value_of_belief(tables: DecisionTables, discount: float) -> float | None:
    """What acting on the exact belief of the team earns, all histories known to all; None where beliefs are too many.

    Dynamic programming over beliefs (Smallwood and Sondik 1973), those alone that can be reached.
    """
    beliefs, start = _heard(tables, tables.initial[None])
    levels = [beliefs]
    links: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(tables.num_steps - 1):
        if len(beliefs) * tables.observation.size * len(tables.transition) > MOST_ENTRIES:
            return None
        moved = np.einsum("bs,ast->bat", beliefs, tables.transition).reshape(-1, len(tables.initial))
        beliefs, link = _heard(tables, moved)
        levels.append(beliefs)
        links.append(link)
    counted = earned = np.zeros(0)
    for level in range(len(levels) - 1, -1, -1):
        now = levels[level] @ tables.rewards
        later = [0.0, 0.0]
        if level < len(links):
            chances, places = links[level]
            later = [(chances * values[places]).sum(axis=1).reshape(now.shape) for values in (counted, earned)]
        counted, earned = chosen(now + discount * later[0], now + later[1])
    return float(np.sum(start[0] * earned[start[1]]))


def chosen(
    counted: Float[np.ndarray, "rows actions"], earned: Float[np.ndarray, "rows actions"]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """The discounted value of the best action of each row, and what it earns."""
    rows, best = np.arange(len(counted)), best_actions(counted, earned)
    return counted[rows, best], earned[rows, best]


def best_actions(
    counted: Float[np.ndarray, "rows actions"], earned: Float[np.ndarray, "rows actions"]
) -> Int[np.ndarray, " rows"]:
    """The action of the largest discounted value; of equals the one that earns most."""
    peak = counted.max(axis=1, keepdims=True)
    equal = counted >= peak - _SAME * (1.0 + np.abs(peak))
    return np.argmax(np.where(equal, earned, -np.inf), axis=1)


def _heard(
    tables: DecisionTables, moved: Float[np.ndarray, "rows states"]
) -> tuple[Float[np.ndarray, "beliefs states"], tuple[np.ndarray, np.ndarray]]:
    """The distinct beliefs after each joint observation; and of each row and observation, its chance and its belief."""
    joint = moved[:, None, :] * tables.observation.T[None]
    chances = joint.sum(axis=2)
    possible = chances > 0
    found = joint[possible] / chances[possible][:, None]
    _, first, places = np.unique(found.round(_DIGITS), axis=0, return_index=True, return_inverse=True)
    of_each = np.zeros(chances.shape, np.int64)
    of_each[possible] = places.ravel()
    return found[first], (chances, of_each)
