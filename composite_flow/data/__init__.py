"""Episodes: on disk, collected with a policy, and as pairs of histories and states."""

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset, JointBatch, PairBatch
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling

__all__ = ["Episodes", "HistoryDataset", "JointBatch", "PairBatch", "Scaling", "collect"]
