"""Logs in the formats of others, as what `Episodes.from_episodes`, `from_table` and `from_arrays` take."""

from composite_flow.data.foreign.bags import bag_table
from composite_flow.data.foreign.hdf5 import hdf5_arrays
from composite_flow.data.foreign.minari import minari_episodes

__all__ = ["bag_table", "hdf5_arrays", "minari_episodes"]
