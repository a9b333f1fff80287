"""What training histories look like, kept beside what agents answer; `calibrate` measures what of it is usual."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.familiar import Familiar, familiar_with
from composite_flow.fusion.joint_steps import OwnSteps
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.training.consistency import learn_consistency
from composite_flow.training.loss import sample_pairs
from composite_flow.training.progress import Progress

_HISTORY_BYTES, _FEWEST = 64e6, 64  # of histories that are summed up; joint histories at least


def learn_watch(
    answers: Answers,
    train: HistoryDataset,
    steps: int,
    *,
    key: PRNGKeyArray,
    num_bytes: int,
    progress: Progress | None = None,
) -> Watch:
    """The range and density of training histories and, where there are steps for it, what they go with.

    Args:
        answers: what agents say.
        train: the training data.
        steps: of training the network that judges whether a history goes with what others say; 0 for none.
        key: of that training.
        num_bytes: most memory of the data that are read.
        progress: as in `learn_consistency`.

    Raises:
        InputError: the network is to be learned where agents answer for a few features each.
    """
    familiar = familiar_histories(train, num_bytes)
    if not steps:
        return Watch.unmeasured(familiar, len(answers.prior.mean))
    if not isinstance(answers, AnswerNetwork):
        raise InputError(
            "What histories go with is learned where every agent answers for every feature; this state is too large."
        )
    network = learn_consistency(answers, familiar, train, steps, key=key, progress=progress)
    return Watch.unmeasured(familiar, len(answers.prior.mean), network)


def familiar_histories(data: HistoryDataset, num_bytes: int) -> Familiar:
    """Histories summed up: those of steps drawn at random, always the same, up to 64 MB of them."""
    samples = OwnSteps(data).resident(jax.random.key(0), num_bytes)
    own_size = data.layout.size - data.num_agents
    count = int(_HISTORY_BYTES / (4 * data.num_agents * own_size))
    own, _ = sample_pairs(samples, jax.random.key(0), max(_FEWEST, min(count, data.num_steps)))
    return familiar_with(np.asarray(own).reshape(-1, own_size))
