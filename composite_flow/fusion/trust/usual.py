"""What is usual among sound agents, measured on whole teams of them.

Features count alike in what an agent's contradictions come to, and contradictions, checks of histories and consistency
alike in its doubt: each is divided by what only 0.3% of the steps of other episodes exceed. Then a team is in doubt
where the largest doubt is above a bound that new steps of sound teams exceed as rarely as stated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.contradictions import unusual
from composite_flow.fusion.doubts import NUM_CHECKS, Watch
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.numerics.batches import numbered_parts

_SCALE_SHARE, _KIND_SHARE = 0.99, 0.997
_SMALLEST_FEATURE = 0.1  # of a feature's discrepancy, which is about 1 where claims are right
_SMALLEST = (
    0.05,
    1.0,
    1.0,
    0.1,
)  # of `outside`, in widths of a range; of `far` and `off`, which are 1 on average; nats
_AT_ONCE, _IN_ONE_CALL, _MOST_BYTES = 2048, 64, 256e6


def measure_watch(answers: Answers, watch: Watch, others: HistoryDataset | None, calibration: HistoryDataset) -> Watch:
    """Measure what is usual.

    Args:
        answers: what agents say.
        watch: what was learned of histories.
        others: such as validation; what is usual of each feature and of each check comes from there. As it was measured
            before where not given.
        calibration: episodes that were used for nothing else.
    """
    scale = np.asarray(watch.scale) if others is None else _scales(_of_teams(answers, watch, others)[0])
    found, episodes = _of_teams(answers, watch, calibration)
    largest = (found / scale).max(axis=(1, 2))
    values = bounds(largest[:, None], episodes, LEVELS, "step")[:, 0]
    arrays = jnp.asarray(scale, jnp.float32), jnp.asarray(values, jnp.float32)
    return Watch(watch.familiar, *arrays, len(np.unique(episodes)), watch.consistency)


def _scales(found: Float[np.ndarray, "steps agents columns"]) -> Float[np.ndarray, " columns"]:
    """Of each column: what is usual of it, and of its kind at its step."""
    kinds = NUM_CHECKS
    features = np.maximum(np.quantile(found[..., :-kinds], _SCALE_SHARE, axis=(0, 1)), _SMALLEST_FEATURE)
    contradiction = np.quantile((found[..., :-kinds] / features).max(axis=(1, 2)), _KIND_SHARE)
    others = np.quantile(found[..., -kinds:].max(axis=1), _KIND_SHARE, axis=0)
    return np.concatenate([features * max(contradiction, 1.0), np.maximum(others, _SMALLEST)])


def _of_teams(
    answers: Answers, watch: Watch, dataset: HistoryDataset
) -> tuple[Float[np.ndarray, "steps agents columns"], Int[np.ndarray, " steps"]]:
    """What is told of the agents of whole teams at the steps of a dataset, and the episode of each step."""
    most = int(_MOST_BYTES / (4 * dataset.num_agents * len(watch.scale)))
    steps = np.asarray(dataset.steps)[: max(most, 1)]
    found = []
    for _, (rows, kept) in numbered_parts(len(steps), _AT_ONCE):
        found.append(np.asarray(_columns(answers, watch, dataset.joint(steps[rows]).histories))[:kept])
    return np.concatenate(found), np.asarray(dataset.windows.episode_of_step)[steps]


@eqx.filter_jit
def _columns(answers: Answers, watch: Watch, histories):
    def of_team(history):
        return unusual(watch, answers.prior, answers.answer_each(history), history, answers.there(history))

    return jax.lax.map(of_team, histories, batch_size=min(_IN_ONE_CALL, len(histories)))
