"""The graph of each function that is exported."""

from composite_flow.export.answer_graph import answer_graph, fuse_graph
from composite_flow.export.denoiser_graph import condition_graph, denoise_graph
from composite_flow.export.filter_graph import (
    carried_hop_graph,
    chain_hop_graph,
    predict_graph,
    say_graph,
    take_in_graph,
)
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import PredictorNetwork, ProductFilter, SpeakerNetwork
from composite_flow.model import Model
from composite_flow.network import Network


def graph_of(model: Model, name: str) -> bytes:
    """The ONNX of one of the functions that `functions_of` found."""
    if name in ("condition", "denoise"):
        assert isinstance(model.denoiser, Network)
        return (condition_graph if name == "condition" else denoise_graph)(model.denoiser)
    assert model.fusion is not None
    if name == "answer":
        return answer_graph(model.fusion.answers, model.fusion.watch and model.fusion.watch.familiar)
    if name == "fuse":
        return fuse_graph(model.fusion.answers.prior)
    return _carried_graph(model.fusion, name)


def _carried_graph(fusion: LearnedFusion, name: str) -> bytes:
    learned = fusion.over_time
    if name == "chain_hop":
        assert fusion.chain is not None
        return chain_hop_graph(fusion.chain)
    if isinstance(learned, ChainFilter):
        return carried_hop_graph(learned)
    assert isinstance(learned, ProductFilter)
    speaker, predictor = learned.speaker, learned.predictor
    assert isinstance(speaker, SpeakerNetwork) and isinstance(predictor, PredictorNetwork)
    graphs = {
        "filter_say": lambda: say_graph(learned, speaker),
        "filter_predict": lambda: predict_graph(predictor),
        "filter_take_in": lambda: take_in_graph(learned.prior),
    }
    return graphs[name]()
