"""Errors by feature: quantiles in the state's own units, shares of wrong choices, coverage of stated intervals."""

import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.feature_errors import feature_errors
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.team_estimate import TeamEstimate, TeamQuantiles

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
        state_names=NAMES,
        quantiles=TeamQuantiles((2,), jnp.asarray(LEVELS)[None]),
    )
    found = feature_errors({"fusion": shifted(by)[:, None]}, STATES, TYPES, SCALING, NAMES, fused)
    assert set(found.covered) == {"all numbers", "speed"}
    assert found.covered["speed"] == pytest.approx({"80%": 0.8, "90%": 0.9, "95%": 0.95}, abs=0.011)
    assert found.covered["all numbers"] == found.covered["speed"]
    assert found.half_widths == {"speed": pytest.approx({"80%": 8.0, "90%": 9.0, "95%": 9.5})}  # times √variance
    assert found.wide_half_widths == found.half_widths  # all variances are the same here
    np.testing.assert_equal(found.wrong["alive"]["fusion"], 100 / 101)
