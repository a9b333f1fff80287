"""What is exported, as functions of JAX over batches: what files of every format are held against."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from composite_flow.errors import InputError
from composite_flow.export.filter_functions import of_carried_chain, of_chain, of_product
from composite_flow.export.function import Exported
from composite_flow.fusion.answers import Answer, Answers
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.fuse import posterior
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.over_time.alone import fitting
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import PredictorNetwork, ProductFilter, SpeakerNetwork
from composite_flow.model import Model
from composite_flow.network import Network
from composite_flow.runtime.conversion import rest_of


def functions_of(model: Model, rows: int = 64) -> dict[str, Exported]:
    """`answer` and `fuse` where fusion was learned, `condition` and `denoise` where a denoiser was.

    Of filters and chains what `filter_functions` says.

    Raises:
        InputError: the denoiser or the filter is of a class of one's own.
        MismatchError: the filter is of another problem or length of histories.
    """
    random = np.random.default_rng(0)
    found: dict[str, Exported] = {}
    if model.fusion is not None:
        histories = _histories(model, random, rows)
        found |= {**_of_fusion(model, histories, random), **_carried(model, histories, random)}
    if isinstance(model.denoiser, Network):
        found |= _of_denoiser(model.denoiser, _histories(model, random, rows), random)
    elif model.has_denoiser:
        raise InputError("Only a `Network` can be exported, not a denoiser of another class.")
    return found


def _of_fusion(model: Model, histories: np.ndarray, random) -> dict[str, Exported]:
    assert model.fusion is not None
    size, answers = len(model.state_names), model.fusion.answers
    familiar = None if model.fusion.watch is None else model.fusion.watch.familiar

    @jax.vmap
    def answer(history):
        return _sent_parts(answers, familiar, history)

    @jax.vmap
    def fuse(evidence, weight, precision):
        mean, variance = posterior(answers.prior, Answer(evidence, weight, precision, jnp.zeros(0)))
        return {"mean": mean, "variance": variance}

    number, prior = answers.prior.types.is_number, np.asarray(answers.prior.precision)
    weights = number * prior * np.exp(random.normal(size=(2, len(histories), size)))
    evidence = np.where(number, weights[0] * random.normal(size=weights[0].shape), 4.0 * random.normal(size=(1, size)))
    sums = tuple(part.astype(np.float32) for part in (evidence, *weights))
    inputs = {name: size for name in ("evidence", "weight", "precision")}
    told = Exported(answer, {"history": model.layout.size}, (histories,))
    return {"answer": told, "fuse": Exported(fuse, inputs, sums)}


def _carried(model: Model, histories: np.ndarray, random) -> dict[str, Exported]:
    """Of the chain and of the filter, as far as they were learned."""
    fusion = model.fusion
    assert fusion is not None
    found = {} if fusion.chain is None else of_chain(fusion.chain, histories, random)
    if fusion.over_time is None:
        return found
    learned = fitting(fusion.over_time, len(model.state_names), model.layout.size)
    if isinstance(learned, ChainFilter):
        return {**found, **of_carried_chain(learned, histories, random)}
    networks = isinstance(learned, ProductFilter) and isinstance(learned.speaker, SpeakerNetwork)
    if not isinstance(learned, ProductFilter) or not networks or not isinstance(learned.predictor, PredictorNetwork):
        raise InputError("Only filters that were trained by this library can be exported.")
    return {**found, **of_product(learned, histories, random)}


def _sent_parts(answers: Answers, familiar: Familiar | None, history: Array) -> dict[str, Array]:
    sent = answers.sent(answers.condition(history))
    said = {"evidence": sent.evidence, "weight": sent.weight, "precision": sent.precision, "rest": rest_of(sent)}
    return said if familiar is None else {**said, "unlike": familiar.unlikeness(history[: len(familiar.low)])}


def _of_denoiser(network: Network, histories: np.ndarray, random) -> dict[str, Exported]:
    width = network.num_conditioned * network.width

    @jax.vmap
    def condition(history):
        return {"context": network.condition(history).reshape(-1)}

    @jax.vmap
    def denoise(context, y):
        return {"state": network.denoise(context.reshape(network.num_conditioned, network.width), y)}

    contexts = np.asarray(eqx.filter_jit(condition)(histories)["context"])
    y = random.normal(size=(len(histories), network.state_size)).astype(np.float32)
    return {
        "condition": Exported(condition, {"history": network.history_size}, (histories,)),
        "denoise": Exported(denoise, {"context": width, "y": network.state_size}, (contexts, y)),
    }


def _histories(model: Model, random, rows: int) -> np.ndarray:
    """Histories within the range of training, each of some agent, the present step observed."""
    learned = model.fusion.answers if model.fusion is not None else model.denoiser
    low, high = (np.asarray(getattr(learned, f"history_{end}")) for end in ("minimum", "maximum"))
    agents, own = model.layout.num_agents, model.layout.size - model.layout.num_agents
    columns = low[:own] + (high - low)[:own] * random.random((rows, own))
    columns[:, own - 1] = 1.0
    identity = np.eye(agents)[np.arange(rows) % agents]
    assert isinstance(learned, AnswerNetwork) or own <= len(low)
    return np.concatenate([columns, identity], axis=1).astype(np.float32)
