"""What small policies earn that learn for a stated number of seconds, a few seeds of each."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from composite_flow.analysis.probe.earned import Earned
from composite_flow.metrics import normal_interval, student_half_width
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import Row
from composite_flow.policy.evaluation import evaluate_policy
from composite_flow.policy.run import train_policy
from composite_flow.problems.base import Problem

# As Figure 5's sensors learn: the defaults of battles end there in policies that never scan, within such a time.
_SETTINGS = MappoConfig(
    steps=10**12,  # the seconds decide
    memory="none",
    rollout=50,
    minibatches=4,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    entropy=1e-3,
)
_EPISODES = 512


def short_run(
    problem: Problem,
    inputs: str,
    *,
    remembers: bool,
    discount: float,
    seconds: float,
    seeds: Sequence[int],
    tell: Callable[[str], None],
) -> Earned:
    """Learn and evaluate a policy for each seed.

    Args:
        problem: the world.
        inputs: what the actor sees, an input of `MappoConfig`.
        remembers: whether the actor is recurrent.
        discount: γ.
        seconds: of learning, for each seed; compiling comes on top.
        seeds: of the runs.
        tell: called with each seed.
    """
    memory = "gru" if remembers else "none"
    config = MappoConfig(**{**vars(_SETTINGS), "inputs": inputs, "memory": memory, "discount": discount})
    means, steps, gains, returns = [], [], [], np.zeros(0)
    for seed in seeds:
        tell(f"seed {seed}")
        key = jax.random.key(seed)
        trained = train_policy(problem, config, key=key, seconds=seconds)
        policy = trained.policy
        returns = evaluate_policy(problem, policy, key=key, num_episodes=_EPISODES, num_samples=0).returns
        means.append(float(np.mean(returns)))
        steps.append(policy.steps)
        gains.append(_late_gain(trained.curves))
    interval, mean = normal_interval(returns) if len(means) == 1 else _over_seeds(means), float(np.mean(means))
    return Earned(mean, interval, "short runs", int(np.mean(steps)), float(np.mean(gains)) > _RISE * abs(mean))


_RISE = 0.03  # of the return, gained from the third to the last quarter of a run


def _late_gain(curves: Sequence[Row]) -> float:
    """How much more episodes return in the last quarter of a run than in the one before."""
    quarter = max(1, len(curves) // 4)
    late, before = (_mean_return(part) for part in (curves[-quarter:], curves[-2 * quarter : -quarter]))
    return 0.0 if late is None or before is None else late - before


def _mean_return(rows: Sequence[Row]) -> float | None:
    pairs = [(row["return"], row["episodes"]) for row in rows if row["return"] is not None]
    count = sum(int(episodes or 0) for _, episodes in pairs)
    return sum((value or 0.0) * (episodes or 0) for value, episodes in pairs) / count if count else None


def _over_seeds(means: Sequence[float]) -> tuple[float, float]:
    """Student's interval of the mean, at 95%."""
    middle, half = float(np.mean(means)), student_half_width(means)
    return middle - half, middle + half
