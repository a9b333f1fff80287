"""Figures of merit of exact answers, in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest
from teams import ideal_sensors, joint_histories

from composite_flow.fusion.answers import prior_of
from composite_flow.fusion.evaluation import evaluate_fusion, fused_errors
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.ideal import IdealAnswers
from composite_flow.problems.sensor import SensorNetwork


def test_exact_answers_are_right_together_and_half_as_often_alone(key):
    """The target is in one of four areas, of which each of four agents sees two, and together they see all.

    An agent that does not see it halves the other two areas, with the squared error (1/4 + 1/4)/4. The prior mean 1/4
    everywhere has (9/16 + 3/16)/4.
    """
    denoiser = ideal_sensors(SensorNetwork.grid(2, 2))
    states = jnp.tile(denoiser.belief.states, (100, 1))
    histories = joint_histories(denoiser, states)
    answers = IdealAnswers(denoiser.belief, prior_of(np.asarray(states), FeatureTypes((), ((0, 4),), 4)))
    found = evaluate_fusion(answers, histories, states, key=key)
    assert (found.messages, found.message_bytes, list(found.sizes)) == (4, 16, [1, 2, 3, 4])
    assert found.exact_rate == found.sizes[4]["exact_rate"] == 1.0 and found.psnr > 80
    assert found.psnr_constant == pytest.approx(-10 * np.log10(3 / 16), rel=1e-5)
    right = found.sizes[1]["exact_rate"]
    assert abs(right - 0.5) < 4 * 0.5 / 400**0.5
    assert found.sizes[1]["psnr"] == pytest.approx(-10 * np.log10((1 - right) / 8), rel=1e-4)
    errors = fused_errors(answers, histories, states)
    assert errors["exact_rate"] == 1.0 and errors["psnr"] == pytest.approx(found.psnr) and errors["median_error"] < 1e-4
