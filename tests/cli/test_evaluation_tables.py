"""What `evaluate` says in words beside its numbers."""

from io import StringIO

import pytest
from rich.console import Console

from composite_flow.cli.evaluation_tables import evaluation_tables
from composite_flow.cli.reporting import show_table

BY_NAME = {"fusion": 33.0, "ridge_of_all_histories": 32.6, "composite": 21.0, "constant": 15.0}
QUANTILES = {"median": 1.0, "q90": 2.0, "q99": 3.0}
ERRORS = {
    "numbers": {"x": {name: QUANTILES for name in BY_NAME}},
    "wrong": {},
    "covered": {"all numbers": {"80%": 0.7, "90%": 0.985}, "x": {"80%": 0.7, "90%": 0.985}},
    "half_widths": {"x": {"80%": 4.25, "90%": 7.75}},
    "wide_half_widths": {"x": {"80%": 14.25, "90%": 17.75}},
    "used": "fusion",
    "shares": {"x": 1.0},
    "better": {},
    "worse": {},
}
APART = {"level": {name: [] for name in BY_NAME}, "unknown": [], "known_places": [0], "psnr_of_known": {}}
CHECKS = {
    "psnr_composite": 21.0,
    "wrong_among_accepted": 0.125,
    "right_means": "it is near",
    "exact_rate_unseen_states": None,
}
VERDICTS = {
    "accepted": 0.975,
    "error_accepted": 0.1,
    "error_refused": 0.4,
    "reasons": {"too wide": 5},
    "refused_early": 0,
    "refused_episodes": 3,
}


def said(
    ways=BY_NAME, guessing=1.0, exact_rate=None, area=0.2, errors=ERRORS, passed=0.685, verdicts=VERDICTS, **others
):
    """All that is printed."""
    costs = {"exact_rate": exact_rate, "calls": 1, "messages": 4, "message_bytes": 8}
    result = {
        **CHECKS,
        "accepted_share": passed,
        "ways": {name: {"psnr": psnr, **costs} for name, psnr in ways.items()},
        "left_out": {},
        "errors": errors,
        "units": {"x": "m"},
        "answering": {"area": area, "area_best": 0.1, "area_random": 0.3, "risk": {"50%": 0.2}, **verdicts},
        "right_by_guessing": guessing,
        "joint_histories": 200,
        "episodes": 30,
        "calibration_episodes": 15,
        "apart": APART,
        "sample_spread": None,
        **others,
    }
    console = Console(width=250, file=StringIO())
    for table in evaluation_tables(result):
        show_table(console, table)
    return console.file.getvalue()


def test_the_best_way_is_named_with_those_close_behind_and_the_option_that_has_it():
    told = said()
    assert "over all features together: fusion. Close behind (within 0.5 dB): ridge regression, all histories." in told
    assert "`reconstruct RUN DATA --by fusion`" in told and "200 joint histories drawn from 30 episodes" in told
    told = said({"fusion": 20.0, "ridge_of_all_histories": 32.6, "composite": 21.0})
    assert "together: ridge regression, all histories. No command infers states by ridge regression" in told
    assert "of those that do the best is `reconstruct RUN DATA --by composite`" in told


def test_ways_that_the_episodes_do_not_tell_apart_are_both_best():
    level = {**APART["level"], "fusion": ["ridge_of_all_histories"]}
    told = said(apart={**APART, "level": level})
    assert "and not told apart by 30 episodes: fusion and ridge regression, all histories. To infer" in told
    assert "Close behind" not in told


def test_features_that_nobody_knows_are_named_and_what_is_left_has_a_column():
    assert "Not known" not in said() and "known features" not in said()
    told = said(apart={**APART, "unknown": ["cargo"], "psnr_of_known": {"fusion": 41.5, "constant": 12.25}})
    assert "fusion is no nearer than the mean state, by more than chance, in cargo." in told
    rows = {line.split("  ")[0].strip(): line for line in told.splitlines()}
    assert "41.5" in rows["fusion"] and "12.25" in rows["mean state, whatever is seen"]
    assert "of known features, scaled" in told


@pytest.mark.parametrize("spread, surer", [(None, False), (0.9, False), (0.54, True)])
def test_samples_that_are_surer_than_right_are_told(spread, surer):
    assert ("spread by 54% of what their errors ask for" in said(sample_spread=spread)) == surer


def test_exact_states_have_a_column_where_there_are_some():
    assert "exact states" not in said() and "exact states" in said(exact_rate=0.5)


def test_intervals_are_told_with_their_width_and_of_how_many_episodes_they_are():
    told = said()
    assert "7.75" in told and "17.75" in told and "4.25" not in told and "98.5%" in told
    assert "Calibrated on 15 episodes only: 90% intervals hold between 90% and 96.2% of the truth" in told
    assert "95% needs 19." in told and "Shares are of 30 episodes" in told
    assert "in more than one sound step in a hundred: that takes 99 (" in told
    told = said(calibration_episodes=400, errors=with_every_level())
    assert "Calibrated on 400 episodes.\n" in told and "episodes only" not in told and "in a hundred" not in told


def with_every_level():
    """The same errors, with intervals at 95% as well."""
    kinds = ("covered", "half_widths", "wide_half_widths")
    return {**ERRORS, **{kind: {name: {**ERRORS[kind][name], "95%": 0.5} for name in ERRORS[kind]} for kind in kinds}}


@pytest.mark.parametrize("area, words", [(0.29, "hardly tells good answers from bad"), (0.2, "gains 50%")])
def test_what_fusion_claims_of_its_errors_is_told_in_words(area, words):
    assert words in said(area=area)


def test_checks_that_even_a_guess_passes_tell_nothing():
    assert "Do not rely on these checks" not in said(guessing=0.1) and "12.5%" in said(guessing=0.1)
    told = said(guessing=0.96)
    assert "even the mean state is right at 96% of the joint histories" in told
    assert "tells nothing" in told and "12.5%" not in told
    told = said(guessing=0.63)
    assert "right at 63% of the joint histories, so that being right says little" in told and "12.5%" in told
    assert "refuse everything" not in told and "refuse everything" in said(guessing=0.1, passed=0.0)


def test_a_way_that_errs_less_in_some_features_is_named_with_them():
    assert "But" not in said()
    numbers = {**ERRORS["numbers"], "y": ERRORS["numbers"]["x"]}
    better, worse = {"ridge_of_all_histories": ["y"]}, {"ridge_of_all_histories": ["x"], "constant": ["x", "y"]}
    told = said(errors={**ERRORS, "numbers": numbers, "better": better, "worse": worse, "covered": {}})
    assert "But ridge regression, all histories: smaller mean error than fusion, by more than chance" in told
    assert "in 1 of 2 features: y; larger in 1: x." in told and "But mean state" not in told
    assert "Not told apart from ridge" not in told
    open_ = said(errors={**ERRORS, "numbers": numbers, "better": {}, "worse": {"constant": ["x", "y"]}, "covered": {}})
    assert "Not told apart from ridge regression, all histories by its mean error in 2 of 2 features: x, y." in open_
    assert "Not told apart from mean state" not in open_ and "But" not in open_


def test_features_that_make_most_of_the_squared_error_are_named():
    assert "squared error of" not in said()
    shares = {"x": 0.02, "battery": 0.82, "gas": 0.15, "speed": 0.01}
    assert "Most of the squared error of fusion: battery 82%, gas 15%." in said(errors={**ERRORS, "shares": shares})
    assert "squared error of" not in said(errors={**ERRORS, "shares": dict.fromkeys("abcd", 0.25)})


def test_an_angle_has_no_interval_at_a_level_of_which_its_parts_have_none():
    angle = {name: {**ERRORS[name], "angle": {"80%": 3.5}} for name in ("covered", "half_widths", "wide_half_widths")}
    numbers = {**ERRORS["numbers"], "angle": ERRORS["numbers"]["x"]}
    told = said(errors={**ERRORS, **angle, "numbers": numbers})
    (row,) = (line for line in told.split("Intervals of fusion")[1].splitlines() if line.strip().startswith("angle"))
    assert row.split() == ["angle", *"3.5 at 80%".split(), *"3.5 at 80%".split(), "350.0%", "–"]


def test_the_verdict_is_told_in_numbers_with_its_reasons():
    told = said()
    assert "195 of 200 accepted, error of those accepted 0.1, error of those refused 0.4." in told
    assert "Refused, from 3 episodes: 5 too wide." in told and "before histories" not in told
    told = said(verdicts={**VERDICTS, "refused_early": 4})
    assert "Refused, from 3 episodes: 5 too wide, 4 of all these before histories are whole." in told
