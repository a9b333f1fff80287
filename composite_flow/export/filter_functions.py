"""What is exported of filters and chains, as functions of JAX over batches; see `functions`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.export.function import Exported
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.over_time.alone import said, taken_in
from composite_flow.fusion.over_time.carried import Carried
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import ProductFilter


def of_product(team_filter: ProductFilter, histories: np.ndarray, random: np.random.Generator) -> dict[str, Exported]:
    """What an agent says, what it predicts, and what it knows once answers are taken in."""
    known, size = _drawn(team_filter, len(histories), random), len(team_filter.prior.mean)
    mean = {name: size for name in ("mean", "weight", "precision")}

    @jax.vmap
    def say(history, mean, weight, precision):
        answer = said(team_filter, history, Carried(mean, weight, precision))
        return {"evidence": answer.evidence, "new_weight": answer.weight, "new_precision": answer.precision}

    @jax.vmap
    def predict(mean, weight, precision):
        return _told(team_filter.predict(Carried(mean, weight, precision)))

    @jax.vmap
    def take_in(mean, weight, precision, evidence, told_weight, told_precision):
        total = Answer(evidence[None], told_weight[None], told_precision[None], jnp.zeros((1, 0)))
        return _told(taken_in(team_filter, Carried(mean, weight, precision), total, jnp.ones(1, bool)))

    answers = tuple(map(np.asarray, jax.jit(say)(histories, *known).values()))
    sums = {"evidence": size, "told_weight": size, "told_precision": size}
    return {
        "filter_say": Exported(say, {"history": histories.shape[1], **mean}, (histories, *known)),
        "filter_predict": Exported(predict, mean, known),
        "filter_take_in": Exported(take_in, {**mean, **sums}, (*known, *answers)),
    }


def of_carried_chain(chain: ChainFilter, histories: np.ndarray, random: np.random.Generator) -> dict[str, Exported]:
    """The hop of a chain over time."""

    @jax.vmap
    def hop(history, y, first):
        return {"state": chain.hop(chain.reader.condition(history), y, first[0])}

    y = random.random((len(histories), len(chain.prior.mean))).astype(np.float32)
    first = random.integers(0, 2, (len(histories), 1)).astype(np.float32)
    inputs = {"history": histories.shape[1], "y": y.shape[1], "first": 1}
    return {"filter_hop": Exported(hop, inputs, (histories, y, first))}


def of_chain(chain: ChainNetwork, histories: np.ndarray, random: np.random.Generator) -> dict[str, Exported]:
    """The hop of the gated chain."""

    @jax.vmap
    def hop(history, y):
        return {"state": chain.denoise(chain.condition(history), y)}

    y = random.random((len(histories), chain.state_size)).astype(np.float32)
    return {"chain_hop": Exported(hop, {"history": histories.shape[1], "y": y.shape[1]}, (histories, y))}


def _told(known: Carried) -> dict[str, Any]:
    return {"new_mean": known.mean, "new_weight": known.weight, "new_precision": known.precision}


def _drawn(team_filter: ProductFilter, rows: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Something known, as it occurs: means within [0, 1], and weights about the prior's."""
    prior, number = team_filter.prior, np.asarray(team_filter.prior.types.is_number)
    chances = np.asarray(prior.types.probabilities(jnp.asarray(random.normal(size=(rows, len(number))), jnp.float32)))
    mean = np.where(number, random.random((rows, len(number))), chances)
    weights = number * np.asarray(prior.precision) * np.exp(random.normal(size=(2, rows, len(number))))
    return tuple(part.astype(np.float32) for part in (mean, *weights))
