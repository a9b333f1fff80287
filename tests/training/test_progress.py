"""Who trains sees how far it is, on standard error, unless told not to."""

import time

import jax
import pytest
from test_fit import TABLE

from composite_flow.training import progress
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit

CONFIG = TrainingConfig(width=16, depth=1, batch=32, steps=20, record_every=10)


def train(**options):
    return fit(TABLE, None, CONFIG, key=jax.random.key(1), **options)


def test_fit_tells_its_progress_by_default(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PATIENT_SECONDS", 600.0)
    loss = train().curves[-1]["loss"]
    printed = capsys.readouterr()
    assert printed.err == f"training: 20 done. loss {loss:.4f}\n" and not printed.out


@pytest.mark.parametrize("silent", [False, None])
def test_and_is_silent_where_asked(capsys, silent):
    train(progress=silent)
    printed = capsys.readouterr()
    assert not printed.err and not printed.out


def test_a_function_of_ones_own_takes_the_place_of_the_bar(capsys):
    told = []
    train(progress=lambda *now: told.append(now))
    assert [now[:2] for now in told][-1] == (20, 20)
    assert not capsys.readouterr().err


def test_a_log_says_what_it_waits_for_until_the_first_part_is_done(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PATIENT_SECONDS", 0.02)
    with progress.progress_bar("slow") as advance:
        time.sleep(0.5)
        advance(1, 1)
    with progress.progress_bar("swift") as advance:
        advance(1, 1)
        time.sleep(0.1)
    with progress.progress_bar("frames", "drawing"):
        time.sleep(0.5)
    assert capsys.readouterr().err.splitlines() == [
        "slow: compiling …",
        "slow: 1 done.",
        "swift: 1 done.",
        "frames: drawing …",
        "frames: 0 done.",
    ]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.progress_bar("training") as advance:
        advance(1, 3, "loss 0.5")
        advance(3, 3)
    shown = capsys.readouterr().err
    assert "compiling …" in shown and "3/3" in shown and shown.rstrip().rpartition("training")[2].count("loss 0.5") == 1
