"""By what agents know that their messages mean the same: a checksum of the model, and the shapes of its answers."""

import dataclasses
import hashlib

import equinox as eqx
import jax
import numpy as np

from composite_flow.model import Model
from composite_flow.runtime.conversion import sent_shape
from composite_flow.runtime.sent import SentShape


def model_checksum(model: Model, over_time: bool = False) -> bytes:
    """Eight bytes of all that messages and estimates depend on: weights, scaling, and the layout of histories.

    What is measured later, such as intervals and what is usual, may differ between agents that understand each other.
    Agents that carry what the team knows `over_time` speak of the filter's weights in place of the answers'.
    """
    found = hashlib.sha256(repr(sorted(dataclasses.asdict(model.layout).items())).encode())
    fusion = model.fusion
    said = None if fusion is None else (fusion.answers, fusion.watch and fusion.watch.familiar)
    if over_time and fusion is not None:
        said = fusion.over_time
        found.update(b"over time")
    for leaf in jax.tree.leaves(eqx.filter((model.denoiser, said, model.scaling), eqx.is_array)):
        found.update(str(leaf.shape).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.digest()[:8]


def sent_shapes(model: Model, over_time: bool = False) -> list[SentShape]:
    """Of every agent's answers; none where the model learned no fusion."""
    if model.fusion is None:
        return []
    return [sent_shape(model.fusion, agent, over_time) for agent in range(model.layout.num_agents)]
