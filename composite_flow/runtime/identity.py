"""By what agents know that their messages mean the same: a checksum of the model, and the shapes of its answers."""

import dataclasses
import hashlib

import equinox as eqx
import jax
import numpy as np

from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import ProductFilter
from composite_flow.model import Model
from composite_flow.runtime.conversion import sent_shape
from composite_flow.runtime.sent import SentShape


def model_checksum(model: Model, over_time: bool = False, by_chain: bool = False) -> bytes:
    """Eight bytes of all that messages and estimates depend on: weights, scaling, and the layout of histories.

    What is measured later, such as intervals and what is usual, may differ between agents that understand each other.
    Agents that carry what the team knows `over_time` speak of the filter's weights in place of the answers', and those
    that hand on the gated chain's message of the chain's.
    """
    found = hashlib.sha256(repr(sorted(dataclasses.asdict(model.layout).items())).encode())
    fusion = model.fusion
    said = None if fusion is None else (fusion.answers, fusion.watch and fusion.watch.familiar)
    for asked, name in ((over_time, "over_time"), (by_chain, "chain")):
        if asked and fusion is not None:
            said = getattr(fusion, name)
            found.update(name.replace("_", " ").encode())
    for leaf in jax.tree.leaves(eqx.filter((model.denoiser, said, model.scaling), eqx.is_array)):
        found.update(str(leaf.shape).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.digest()[:8]


def carries(model: Model) -> str | None:
    """The kind of filter by which a model carries what a team knows over time; None where it learned none."""
    team_filter = None if model.fusion is None else model.fusion.over_time
    if isinstance(team_filter, ChainFilter):
        return team_filter.kind
    return "product" if isinstance(team_filter, ProductFilter) else None


def sent_shapes(model: Model, over_time: bool = False) -> list[SentShape]:
    """Of every agent's answers; none where the model learned no fusion."""
    if model.fusion is None:
        return []
    return [sent_shape(model.fusion, agent, over_time) for agent in range(model.layout.num_agents)]
