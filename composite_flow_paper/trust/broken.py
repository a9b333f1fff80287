"""What becomes of broken sensors in a world: who is named, by kind of fault and by harm, and what is left of the error.

A fault harms a step where the error of the estimate would grow by half or more, and by a twentieth of what the training
mean errs at least: where an estimate is nearly exact, a ratio alone tells nothing. Steps of one episode go together, so
that intervals come from a bootstrap over episodes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.episodes import Episodes
from composite_flow.model import Model
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.trust.checked import Said, calibrated, chosen_episodes, said_of
from composite_flow_paper.trust.faults import KINDS, broken
from composite_flow_paper.trust.worlds import TrustSettings, load_world

HARMFUL, DOUBLED = 1.5, 2.0
GROWTHS = (0.0, 1.1, 1.5, 2.0, 3.0, np.inf)  # bounds of the bins of harm
LEAST_HARM = 0.05  # of the training mean's error
_RESAMPLES = 1000


def compute_broken(settings: TrustSettings, name: str, workspace: Workspace) -> dict[str, Any]:
    """Break one agent of each episode, and two at once, in every way."""
    model, fresh = load_world(name, workspace.folder)
    workspace.progress(f"{name}: calibration")
    model = calibrated(model, fresh, name, settings)
    episodes, length = chosen_episodes(fresh, settings.checked_ids()), settings.world(name).length
    clean = said_of(model, episodes, length)
    robust = said_of(model, episodes, length, robust=True)
    least = LEAST_HARM * constant_error(model, episodes)
    random, found = np.random.default_rng(0), {}
    for number in (1, 2):
        agents = np.stack([random.permutation(episodes.num_agents)[:number] for _ in range(episodes.num_episodes)])
        rest = without(episodes, agents)
        sound = said_of(model, episodes, length, rest)
        for kind in KINDS:
            workspace.progress(f"{name}: {kind}, {number} at once")
            log = episodes
            for place in range(number):
                log = broken(log, kind, agents[:, place], place)
            pair = said_of(model, log, length), said_of(model, log, length, robust=True)
            found[f"{kind}-{number}"] = judged(episodes, clean, sound, pair, ~rest, least)
    return {
        "agents": episodes.num_agents,
        "episodes": episodes.num_episodes,
        "steps": episodes.num_steps,
        "false_alarms": interval_of(clean.doubted, episodes),
        "accepted": interval_of(clean.accepted, episodes),
        "error": float(clean.error.mean()),
        "error_robust": float(robust.error.mean()),
        "least_harm": least,
        "faults": found,
    }


def constant_error(model: Model, episodes: Episodes) -> float:
    """What the training mean errs on average, ‖s̄ − s‖, scaled."""
    assert model.answers is not None
    states = np.asarray(model.scaling.scale(jnp.asarray(episodes.states[:])))
    return float(np.linalg.norm(states - np.asarray(model.answers.prior.mean), axis=1).mean())


def without(episodes: Episodes, agents: Int[np.ndarray, "episodes broken"]) -> Bool[np.ndarray, "steps agents"]:
    """Who is not among the broken agents of each step's episode."""
    everyone = np.arange(episodes.num_agents)
    return np.all(agents[episodes.episode_of_step][:, :, None] != everyone, axis=1)


def judged(
    episodes: Episodes,
    clean: Said,
    sound: Said,
    pair: tuple[Said, Said],
    whose: Bool[np.ndarray, "steps agents"],
    least: float,
) -> dict[str, Any]:
    """One kind of fault.

    Args:
        episodes: of the steps.
        clean: what is said where nothing is broken.
        sound: what those say who are not broken.
        pair: what all say, and what is said once suspects are left out.
        whose: who is broken at each step.
        least: smallest growth that counts as harm.
    """
    everyone, robust = pair
    growth = grown(everyone.error, clean.error, least)
    named = np.any(everyone.suspects & whose, axis=1)
    all_named = ~np.any(whose & ~everyone.suspects, axis=1)
    harmed, doubled = growth >= HARMFUL, growth >= DOUBLED
    return {
        "harmful": float(harmed.mean()),
        "named": interval_of(named[harmed], episodes, harmed),
        "all_named": share(all_named[harmed]),
        "sound_named": share(np.any(everyone.suspects & ~whose, axis=1)[harmed]),
        "doubled": float(doubled.mean()),
        "abstained_or_named": interval_of((~everyone.accepted | named)[doubled], episodes, doubled),
        "error": {
            "with_everyone": mean(everyone.error[harmed]),
            "robust": mean(robust.error[harmed]),
            "of_the_sound": mean(sound.error[harmed]),
            "clean": mean(clean.error[harmed]),
        },
        "by_growth": by_growth(growth, named),
    }


def grown(
    after: Float[np.ndarray, " steps"], before: Float[np.ndarray, " steps"], least: float
) -> Float[np.ndarray, " steps"]:
    """How many times as large the error is; 1 where it grew by less than counts, infinite where it is no number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = after / np.maximum(before, 1e-12)
    return np.where(np.isnan(after), np.inf, np.where(after - before < least, np.minimum(ratio, 1.0), ratio))


def by_growth(growth: Float[np.ndarray, " steps"], named: Bool[np.ndarray, " steps"]) -> list[dict[str, Any]]:
    """Share of the steps in each bin, and of these the share in which a broken agent is named."""
    bins = np.digitize(growth, GROWTHS[1:-1])
    return [
        {"from": GROWTHS[place], "share": float(np.mean(bins == place)), "named": share(named[bins == place])}
        for place in range(len(GROWTHS) - 1)
    ]


def share(values: Bool[np.ndarray, " steps"]) -> float | None:
    """Of True; None where there is nothing."""
    return float(values.mean()) if len(values) else None


def mean(values: Float[np.ndarray, " steps"]) -> float | None:
    """Of errors that are numbers; None where there are none."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else None


def interval_of(
    values: Bool[np.ndarray, " some"], episodes: Episodes, chosen: Bool[np.ndarray, " steps"] | None = None
) -> list[float] | None:
    """The share of True, and its 95% interval from a bootstrap over episodes; None where there is nothing."""
    of_step = episodes.episode_of_step if chosen is None else episodes.episode_of_step[chosen]
    if not len(values):
        return None
    ids, place = np.unique(of_step, return_inverse=True)
    counts, hits = np.bincount(place), np.bincount(place, values)
    drawn = np.random.default_rng(0).integers(0, len(ids), (_RESAMPLES, len(ids)))
    shares = hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [float(values.mean()), *np.quantile(shares, (0.025, 0.975)).tolist(), len(ids)]
