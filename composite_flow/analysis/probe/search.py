"""The best that was found for actors that see a part each: policies improved one actor at a time, exactly valued.

No method finds the best policies of such teams fast (the problem is NEXP-complete), so what is found is a lower bound:

    with a clock       a_i = π_i(t, what i sees), improved backwards from the last step, all else being as it is: all
                       actors at once where their rules at one step are few, one after the other where they are many
    without a clock    a_i = π_i(what i sees), the same at every step; single changes are tried one after the other

from several random policies and from those that always act alike.

This is joint equilibrium-based search (Nair et al. 2003) over windows in place of whole histories.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from jaxtyping import Int

from composite_flow.analysis.probe.exact import best_actions
from composite_flow.analysis.probe.windows import Windows

_GAIN = 1e-9  # relative; what gains less is rounding

Policy = Int[np.ndarray, "steps actors views"]


def value_with_clock(team: Windows, discount: float, restarts: int, random: np.random.Generator) -> float:
    """What the best policies that were found earn that know the step."""
    return max(_climbed(team, policy, discount, _sweep) for policy in _starts(team, restarts, random))[1]


def value_without_clock(team: Windows, discount: float, restarts: int, random: np.random.Generator) -> float:
    """What the best policies that were found earn that act by the same rule at every step."""
    return max(_climbed(team, policy, discount, _single_changes) for policy in _starts(team, restarts, random))[1]


def values(team: Windows, policy: Policy, discount: float) -> tuple[float, float]:
    """The discounted value of a policy, and what it earns; exactly."""
    counted = earned = np.zeros(len(team.initial))
    rows = np.arange(len(team.initial))
    for step in range(team.num_steps - 1, -1, -1):
        joint = _joint(team, policy[step])
        moved, reward = team.transition[joint, rows], team.rewards[rows, joint]
        counted, earned = reward + discount * moved @ counted, reward + moved @ earned
    return float(team.initial @ counted), float(team.initial @ earned)


def _starts(team: Windows, restarts: int, random: np.random.Generator) -> list[Policy]:
    """Those that always act alike, as far as they are few, and random ones, which do not change with the step."""
    sizes, views = team.actions.max(axis=0) + 1, int(team.seen.max()) + 1
    shape = (len(sizes), views)
    alike = [np.tile(joint[:, None], (1, views)) for joint in team.actions[:_MOST_ALIKE]]
    drawn = [random.integers(0, sizes[:, None], shape) for _ in range(restarts)]
    return [np.tile(policy[None], (team.num_steps, 1, 1)) for policy in (*alike, *drawn)]


_MOST_ALIKE = 16


def _climbed(team: Windows, policy: Policy, discount: float, improve) -> tuple[float, float]:
    """The values where no improvement is left."""
    found = values(team, policy, discount)
    while True:
        policy = improve(team, policy, discount)
        new = values(team, policy, discount)
        if not _is_better(new, found):
            return found
        found = new


def _is_better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """By the discounted value; among equals by what is earned."""
    unit = _GAIN * (1.0 + abs(other[0]))
    return one[0] > other[0] + unit or (one[0] > other[0] - unit and one[1] > other[1] + _GAIN * (1.0 + abs(other[1])))


def _sweep(team: Windows, policy: Policy, discount: float) -> Policy:
    """Every actor's choice at every step once, from the last step on."""
    policy, reached = policy.copy(), [team.initial]
    rows = np.arange(len(team.initial))
    for step in range(team.num_steps - 1):
        reached.append(reached[-1] @ team.transition[_joint(team, policy[step]), rows])
    counted = earned = np.zeros(len(team.initial))
    for step in range(team.num_steps - 1, -1, -1):
        counted_each = team.rewards + discount * (team.transition @ counted).T
        earned_each = team.rewards + (team.transition @ earned).T
        each = [reached[step][:, None] * values for values in (counted_each, earned_each)]
        for rules in _tried(team, policy[step]):
            trial = policy[step].copy()
            for actor, rule in rules:
                trial[actor] = trial[actor] if rule is None else rule
                if rule is None:  # the best answer to what the others do
                    weighted = [_by_view(team, trial, actor, one) for one in each]
                    trial[actor, : len(weighted[0])] = _changed(trial[actor], *weighted)
            if _is_better(_totals(team, trial, each), _totals(team, policy[step], each)):
                policy[step] = trial
        joint = _joint(team, policy[step])
        counted, earned = counted_each[rows, joint], earned_each[rows, joint]
    return policy


def _tried(team: Windows, policy: Int[np.ndarray, "actors views"]) -> Iterator[list[tuple[int, np.ndarray | None]]]:
    """What is tried at one step: rules of actors, None for the best answer to all others.

    Where they are few, all rules of all actors but the last, each with the last one's best answer, which is the best
    that can be done at this step; otherwise each actor's best answer in turn.
    """
    *others, last = range(len(team.seen))
    views = [int(team.seen[actor].max()) + 1 for actor in others]
    sizes = [int(team.actions[:, actor].max()) + 1 for actor in others]
    if float(np.prod([float(size) ** count for size, count in zip(sizes, views, strict=True)])) > _MOST_RULES:
        yield [(actor, None) for actor in (*others, last)]
        return
    each = [product(range(size), repeat=count) for size, count in zip(sizes, views, strict=True)]
    for rules in product(*each):
        padded = [np.append(rule, np.zeros(policy.shape[1] - len(rule), int)) for rule in rules]
        yield [*zip(others, padded, strict=True), (last, None)]


_MOST_RULES = 32


def _totals(team: Windows, policy: Int[np.ndarray, "actors views"], each: Sequence[np.ndarray]) -> tuple[float, float]:
    """What a rule earns from one step on: discounted, and in sum."""
    joint, rows = _joint(team, policy), np.arange(team.seen.shape[1])
    return float(each[0][rows, joint].sum()), float(each[1][rows, joint].sum())


def _changed(own: np.ndarray, counted: np.ndarray, earned: np.ndarray) -> np.ndarray:
    """The best action of each view; the old one where it is as good."""
    best, old, rows = best_actions(counted, earned), own[: len(counted)], np.arange(len(counted))
    pairs = zip(counted[rows, best], earned[rows, best], counted[rows, old], earned[rows, old], strict=True)
    better = np.array([_is_better((one, two), (three, four)) for one, two, three, four in pairs])
    return np.where(better, best, old)


def _by_view(team: Windows, policy: Int[np.ndarray, "actors views"], actor: int, each: np.ndarray) -> np.ndarray:
    """Of each view and action of one actor, the sum over windows of a value, the others acting as they do."""
    size, strides = int(team.actions[:, actor].max()) + 1, _strides(team)
    others = _joint(team, policy) - strides[actor] * policy[actor, team.seen[actor]]
    count, rows = int(team.seen[actor].max()) + 1, np.arange(len(each))
    columns = [
        np.bincount(team.seen[actor], each[rows, others + strides[actor] * action], count) for action in range(size)
    ]
    return np.stack(columns, axis=1)


def _single_changes(team: Windows, policy: Policy, discount: float) -> Policy:
    """Every actor's action in every view once, wherever another one gains."""
    found = values(team, policy, discount)
    for actor, seen in enumerate(team.seen):
        for view in range(int(seen.max()) + 1):
            for action in range(int(team.actions[:, actor].max()) + 1):
                trial = policy.copy()
                trial[:, actor, view] = action
                if _is_better(new := values(team, trial, discount), found):
                    policy, found = trial, new
    return policy


def _joint(team: Windows, policy: Int[np.ndarray, "actors views"]) -> Int[np.ndarray, " windows"]:
    """The joint action in each window."""
    return _strides(team) @ np.take_along_axis(policy, team.seen, axis=1)


def _strides(team: Windows) -> Int[np.ndarray, " actors"]:
    sizes = team.actions.max(axis=0) + 1
    return np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
