"""The types of a state's features decide in what terms agents answer; they are found and kept by the data."""

from composite_flow.data.feature_types import FeatureTypes, find_types

__all__ = ["FeatureTypes", "find_types"]
