"""What agents infer by is learned before the policy: which chain, from which episodes, resumed, refused."""

import jax
import numpy as np
import pytest
from policy_notebook import Notebook
from safetensors.numpy import load_file

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError
from composite_flow.files.plain_json import read_json, write_json
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.pretraining import Pretraining, pretrained, training_of

WORLD = "sensor:2x2,targets=1,miss=0.3,steps=4"
SMALL = ["--steps", "64", "--worlds", "4", "--rollout", "8", "--piece", "4", "--width", "8", "--memory", "none"]


def config(kind, lost=0.0):
    return cf.MappoConfig(
        inputs=kind, inference=InferenceConfig(lost=lost, history=2, denoiser_width=8, denoiser_depth=1)
    )


def test_what_is_learned_is_what_the_input_infers_by():
    team, own, denoiser = (training_of(config(kind), 7) for kind in ("belief", "own-belief", "composite"))
    cautious = training_of(cf.MappoConfig(inputs="safe", samples_of="team", memory="none"), 7)
    assert cautious.learn == "fusion" and cautious.team_denoiser and cautious.over_time == "none"
    assert (team.over_time, team.alone, team.lost, team.steps) == ("gated", 0.0, 0.0, 7)
    assert (own.over_time, own.alone) == ("gated", 1.0)
    assert (denoiser.learn, denoiser.over_time, denoiser.width, denoiser.depth) == ("denoiser", "none", 8, 1)
    assert [training_of(config("belief", lost), 7).lost for lost in (0.1, 0.7)] == [0.5, 0.7]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "length"), [("belief", 1), ("denoised", 2)])
def test_the_model_is_of_the_world_and_serves_the_policy(kind, length, key):
    problem = cf.problem_from_text(WORLD)
    notes = Notebook()
    model = pretrained(problem, config(kind), Pretraining(20, 5), key=key, progress=False, listener=notes)
    assert [point for points in notes.curves.values() for point in points] == list(model.curves)
    np.testing.assert_array_equal(notes.scalings[0].maximum, model.scaling.maximum)
    assert model.layout.length == length and model.description["problem"] == problem.description
    settings = cf.MappoConfig(
        inputs=kind, steps=32, worlds=4, rollout=8, piece=4, width=8, memory="none", inference=config(kind).inference
    )
    trained = cf.train_policy(problem, settings, key=key, denoiser=model)
    assert trained.curves[-1]["psnr"] is not None


@pytest.mark.slow
def test_one_command_learns_both_and_goes_on_where_it_stood(tmp_path, capsys):
    """A run whose chain was learned, and whose policy was not begun, ends in the same bits."""
    arguments = ["train-policy", WORLD, *SMALL, "--inputs", "belief", "--pretrain", "20", "--pretrain-steps", "6"]
    assert cli.main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    fusion = cf.load(tmp_path / "whole" / "inference").fusion
    assert fusion is not None and isinstance(fusion.over_time, ChainFilter) and fusion.over_time.kind == "gated"
    record = read_json(tmp_path / "whole" / "policy_run.json")
    assert (record["pretrain"], record["pretrain_steps"]) == (20, 6)
    half = tmp_path / "half"
    write_json(half / "policy_run.json", record)
    assert cli.main(["train-policy", WORLD, "--out", str(half), "--resume"]) == 0
    again = tmp_path / "again"
    write_json(again / "policy_run.json", record)
    (again / "inference").mkdir()
    for path in (half / "inference").iterdir():
        (again / "inference" / path.name).write_bytes(path.read_bytes())
    assert cli.main(["train-policy", WORLD, "--out", str(again), "--resume"]) == 0
    whole, *others = (load_file(tmp_path / name / "policy.safetensors") for name in ("whole", "half", "again"))
    for other in others:
        assert all(np.array_equal(whole[name], other[name]) for name in whole)
    key = jax.random.key(0)
    scores = cf.evaluate_policy(cf.problem_from_text(WORLD), cf.load_policy(again), key=key, num_episodes=4).summary()
    assert np.isfinite(scores["return"])


@pytest.mark.slow
def test_records_of_before_are_resumed(tmp_path):
    """They know neither of learning before nor of losses in training."""
    out = tmp_path / "run"
    assert cli.main(["train-policy", WORLD, *SMALL, "--inputs", "denoised", "--out", str(out)]) == 0
    record = read_json(out / "policy_run.json")
    assert "lost" not in record["inference"]
    write_json(out / "policy_run.json", {name: record[name] for name in record if not name.startswith("pretrain")})
    assert cli.main(["train-policy", WORLD, "--out", str(out), "--resume"]) == 0


def test_what_cannot_be_learned_before_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="pretrain must be 0, or at least 3 episodes"):
        Pretraining(2)
    with pytest.raises(InputError, match="pretrain_steps must be positive"):
        Pretraining(20, 0)
    with pytest.raises(InputError, match="pretrain is 0"):
        pretrained(cf.problem_from_text(WORLD), config("belief"), Pretraining(), key=jax.random.key(0))
    for options, sentence in (
        (["--inputs", "agent", "--pretrain", "20"], "infer nothing that could be learned"),
        (["--inputs", "belief", "--pretrain", "20", "--denoiser", "x"], "not both"),
        (["--inputs", "belief"], "needs a chain that was learned over time"),
    ):
        assert cli.main(["train-policy", WORLD, *SMALL, *options, "--out", str(tmp_path / "run")]) == 1
        assert sentence in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "run").exists()
