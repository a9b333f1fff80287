"""Errors by feature: quantiles in the state's own units, shares of wrong choices, coverage of stated intervals."""

import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.feature_errors import feature_errors
from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.team_estimate import TeamEstimate

NAMES = ("speed", "alive", "red", "green", "blue")
TYPES = FeatureTypes((1,), ((2, 5),), 5)
SCALING = Scaling(jnp.array([10.0, 0.0, 0.0, 0.0, 0.0]), jnp.array([30.0, 1.0, 1.0, 1.0, 1.0]))
STATES = jnp.tile(jnp.array([[0.5, 1.0, 0.0, 1.0, 0.0]]), (101, 1))


def shifted(by):
    """Speeds off by so much each; `alive` wrong but for one; the colour right, as the largest of three."""
    others = jnp.tile(jnp.array([[0.4, 0.3, 0.4, 0.3]]), (101, 1)).at[0, 0].set(0.9)
    return jnp.concatenate([STATES[:, :1] + by[:, None], others], axis=1)


def test_numbers_have_quantiles_in_their_own_units_and_choices_shares():
    by = jnp.linspace(-0.5, 0.5, 101)  # errors of 0 to ½, which are 0 to 10
    found = feature_errors({"fusion": shifted(by)[:, None]}, STATES, TYPES, SCALING, NAMES)
    assert found.numbers["speed"]["fusion"] == pytest.approx({"median": 5.0, "q90": 9.0, "q99": 9.9}, abs=0.11)
    assert found.wrong["alive"]["fusion"] == pytest.approx(100 / 101)
    assert found.wrong["red … blue"]["fusion"] == 0.0
    assert list(found.wrong) == ["alive", "red … blue"]
    assert found.covered == found.half_widths == found.wide_half_widths == {}


def test_samples_and_agents_count_one_by_one():
    two = jnp.stack([STATES, STATES.at[:, 2:4].set(jnp.array([1.0, 0.0]))], axis=1)
    found = feature_errors({"composite": two, "constant": STATES[:, None]}, STATES, TYPES, SCALING, NAMES)
    assert found.wrong["red … blue"] == {"composite": 0.5, "constant": 0.0}
    assert found.numbers["speed"]["composite"]["q99"] == 0.0


def test_intervals_cover_those_within_their_reach():
    """Quantiles of a uniform error: at level p the interval reaches p half-ranges."""
    by = jnp.linspace(-0.5, 0.5, 101)
    fused = TeamEstimate(
        mean=SCALING.unscale(shifted(by)),
        variance=jnp.full((101, 5), 100.0),
        participants=jnp.ones((101, 2), bool),
        messages=jnp.full(101, 2),
        message_bytes=4,
        types=TYPES,
        names=Names(NAMES),
        quantiles=TeamQuantiles((2,), jnp.asarray(LEVELS)[None]),
    )
    found = feature_errors({"fusion": shifted(by)[:, None]}, STATES, TYPES, SCALING, NAMES, fused)
    assert set(found.covered) == {"all numbers", "speed"}
    assert found.covered["speed"] == pytest.approx({"80%": 0.8, "90%": 0.9, "95%": 0.95}, abs=0.011)
    assert found.covered["all numbers"] == found.covered["speed"]
    assert found.half_widths == {"speed": pytest.approx({"80%": 8.0, "90%": 9.0, "95%": 9.5})}  # times √variance
    assert found.wide_half_widths["speed"] == pytest.approx(found.half_widths["speed"])  # all variances are the same
    np.testing.assert_equal(found.wrong["alive"]["fusion"], 100 / 101)


# --- angles, what makes the error, and where another way is better


HEADING = ("speed", "sin heading (degrees)", "cos heading (degrees)")
NUMBERS = FeatureTypes((), (), 3)
CIRCLE = Scaling(jnp.array([0.0, -1.0, -1.0]), jnp.array([1.0, 1.0, 1.0]))


def headings(degrees):
    """Scaled states of a constant speed."""
    radians = np.deg2rad(np.asarray(degrees, np.float64))
    values = np.stack([np.full_like(radians, 0.5), np.sin(radians), np.cos(radians)], axis=-1)
    return jnp.asarray(CIRCLE.scale(jnp.asarray(values, jnp.float32)))


def test_an_angle_is_measured_round_the_circle_and_under_its_own_name():
    """From 170 to −170 degrees are 20, and from 0 to 10 are 10."""
    truth, found = headings([170.0, 0.0]), headings([-170.0, 10.0])
    told = feature_errors({"fusion": found[:, None]}, truth, NUMBERS, CIRCLE, HEADING)
    assert list(told.numbers) == ["speed", "heading"]
    assert told.numbers["heading"]["fusion"]["median"] == pytest.approx(15.0, abs=1e-3)
    assert told.numbers["heading"]["fusion"]["q99"] == pytest.approx(19.9, abs=1e-3)


def test_an_angles_interval_encloses_the_truth_round_the_circle():
    """At 179 degrees ± what 0.1 of sine and cosine makes, −179 lies inside, and 160 does not."""
    found, truth = headings([179.0, 179.0]), headings([-179.0, 160.0])
    fused = TeamEstimate(
        mean=CIRCLE.unscale(found),
        variance=jnp.full((2, 3), 0.01),
        participants=jnp.ones((2, 2), bool),
        messages=jnp.full(2, 2),
        message_bytes=4,
        types=NUMBERS,
        names=Names(HEADING),
        quantiles=TeamQuantiles((2,), jnp.ones((1, len(LEVELS)))),
    )
    told = feature_errors({"fusion": found[:, None]}, truth, NUMBERS, CIRCLE, HEADING, fused)
    assert told.covered["heading"]["80%"] == told.covered["heading"]["90%"] == 0.5
    low, high = fused.interval("heading", 0.9)
    assert told.half_widths["heading"]["90%"] == pytest.approx(float((high - low)[0]) / 2)


def test_what_each_feature_makes_of_the_squared_error():
    truth = jnp.full((4, 3), 0.5)
    found = truth + jnp.array([[0.1, 0.3, 0.0]])
    plain = ("a", "b", "c")
    told = feature_errors({"fusion": found[:, None], "constant": truth[:, None]}, truth, NUMBERS, CIRCLE, plain)
    assert told.used == "fusion" and told.shares == pytest.approx({"a": 0.1, "b": 0.9, "c": 0.0}, abs=1e-6)


def test_another_way_is_better_where_episodes_agree_on_it():
    """In `a` it is by 0.1 in each of ten episodes, in `b` by as much in the mean, but not in most of them; steps of one
    episode count once."""
    truth, used = jnp.zeros((40, 3)), jnp.full((40, 3), 0.5)
    episodes, gain = np.repeat(np.arange(10), 4), np.where(np.arange(10) == 3, 1.0, 0.0)[np.repeat(np.arange(10), 4)]
    other = used - jnp.stack([jnp.full(40, 0.1), jnp.asarray(0.5 * gain), jnp.zeros(40)], axis=1).astype(jnp.float32)
    ways = {"fusion": used[:, None], "ridge_of_all_histories": other[:, None], "constant": used[:, None] + 0.1}
    told = feature_errors(ways, truth, NUMBERS, CIRCLE, ("a", "b", "c"), episodes=episodes)
    assert told.better == {"ridge_of_all_histories": ["a"]} and told.worse == {"constant": ["a", "b", "c"]}
    assert feature_errors(ways, truth, NUMBERS, CIRCLE, ("a", "b", "c"), episodes=0 * episodes).better == {}
