"""Fusion over time: the team's belief is carried from step to step, a learned filter for many agents.

Read `carried` (what is carried, and the contract), then `product` (a learned information filter, order-free, with
precision) and `chains` (one message that goes round, and on to the next step), `segments` (what they learn from) and
`episode` (what they say of an episode). `alone` is one agent's side of it, and `rule` a chain as a composition rule.
"""

from composite_flow.fusion.over_time.build import FilterKind, build_filter, empty_filter, filter_settings
from composite_flow.fusion.over_time.carried import Carried, TeamFilter, follow
from composite_flow.fusion.over_time.episode import FilteredEpisode, filter_episode

__all__ = [
    "Carried",
    "FilterKind",
    "FilteredEpisode",
    "TeamFilter",
    "build_filter",
    "empty_filter",
    "filter_episode",
    "filter_settings",
    "follow",
]
