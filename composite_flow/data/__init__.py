"""Episodes: on disk, collected with a policy or imported, and as pairs of histories and states."""

from composite_flow.data.collect import collect, collect_to
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.data.vault.importer import import_vault
from composite_flow.data.windows import JointBatch, PairBatch

__all__ = ["Episodes", "HistoryDataset", "JointBatch", "PairBatch", "Scaling", "collect", "collect_to", "import_vault"]
