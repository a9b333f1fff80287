"""The structure of learned answers as JSON, and answers of that structure without their weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.fusion.answers import Answers, Prior
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.team_denoiser import TeamDenoiser, build_team_denoiser

_DENSE = ("num_agents", "history_size", "width", "depth", "num_free", "activation")
_SPARSE = ("num_agents", "own_size", "num_slots", "width", "depth", "activation")


def answers_settings(answers: Answers) -> dict[str, Any]:
    """What `empty_answers` needs; JSON-able."""
    kind, names = ("sparse", _SPARSE) if isinstance(answers, SparseAnswers) else ("dense", _DENSE)
    return {"kind": kind, "types": answers.prior.types.settings, **{name: getattr(answers, name) for name in names}}


def empty_answers(settings: dict[str, Any]) -> AnswerNetwork | SparseAnswers:
    """Answers of the same structure, without their weights."""
    types = FeatureTypes.from_settings(settings["types"])
    prior = Prior(jnp.zeros(types.size), jnp.ones(types.size), types)
    build = {"dense": _dense, "sparse": _sparse}[settings["kind"]]
    return eqx.filter_eval_shape(lambda key: build(settings, prior, key), jax.random.key(0))


def team_settings(team: TeamDenoiser) -> dict[str, Any]:
    """What `empty_team_denoiser` needs beside the answers; JSON-able."""
    speaker, network = team.speaker, team.network
    own = {"width": network.width, "rounds": network.rounds, "num_free": speaker.num_free}
    return {**own, "speaker_width": speaker.width, "speaker_depth": speaker.depth}


def empty_team_denoiser(settings: dict[str, Any], answers: Any) -> TeamDenoiser:
    """A team denoiser over answers, both without their weights."""
    return eqx.filter_eval_shape(
        lambda answers, key: build_team_denoiser(answers, **settings, key=key), answers, jax.random.key(0)
    )


def chain_settings(chain: ChainNetwork) -> dict[str, Any]:
    """What `empty_chain` needs; JSON-able."""
    depth, width = chain.biases.shape
    sizes = {"history_size": len(chain.history_minimum), "state_size": chain.state_size}
    return {**sizes, "width": width, "depth": depth, "activation": chain.activation}


def empty_chain(settings: dict[str, Any]) -> ChainNetwork:
    """A chain of the same structure, without its weights."""
    history, size = settings["history_size"], settings["state_size"]
    options = {name: settings[name] for name in ("width", "depth", "activation")}

    def build(key):
        return ChainNetwork((jnp.zeros(history), jnp.ones(history)), jnp.zeros(size), **options, key=key)

    return eqx.filter_eval_shape(build, jax.random.key(0))


def _dense(settings: dict[str, Any], prior: Prior, key) -> AnswerNetwork:
    agents, history, width, depth, num_free, activation = (settings[name] for name in _DENSE)
    limits = jnp.zeros(history), jnp.ones(history)
    return AnswerNetwork(jnp.zeros((agents, history)), limits, prior, width, depth, num_free, activation, key=key)


def _sparse(settings: dict[str, Any], prior: Prior, key) -> SparseAnswers:
    agents, own, num_slots, width, depth, activation = (settings[name] for name in _SPARSE)
    slots, usual = np.zeros((agents, num_slots), np.int32), jnp.zeros((agents, own))
    return SparseAnswers(slots, usual, (jnp.zeros(own), jnp.ones(own)), prior, width, depth, activation, key=key)
