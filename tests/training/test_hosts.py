"""Training on several hosts from the command line: they find each other, follow the curve of one, and fail in words."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError
from composite_flow.files.checkpoint import load_description
from composite_flow.runs import RunSettings, train_run
from composite_flow.training.hosts import join_hosts, report_to_first, wait_for_hosts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = cf.TrainingConfig(
    width=16, depth=1, batch=32, steps=60, warmup=5, record_every=20, evaluate_every=20, resident_gigabytes=5e-6
)
OPTIONS = (
    "--width 16 --depth 1 --batch 32 --warmup 5 --record-every 20 --evaluate-every 20 --resident-gigabytes 5e-6 "
    "--history 2"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Episodes in several shards, larger than what training may hold of them."""
    folder = tmp_path_factory.mktemp("hosts") / "data"
    cf.collect(cf.problem_from_text("sensor:2x2,steps=4"), 60, key=jax.random.key(1)).save(folder, shard_bytes=2000)
    return folder


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(data, out, *options, **variables):
    """The command on one host, with --hosts."""
    arguments = ["train", data, "--out", out, *OPTIONS, *options, "--json", "--hosts"]
    command = [sys.executable, "-m", "composite_flow", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | variables
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)


def of_two(port, index):
    """The options that name a team of two."""
    return "--coordinator", f"127.0.0.1:{port}", "--host-index", index, "--num-hosts", 2


def slurm_of_two(index):
    """What SLURM tells the tasks of a job of two. JAX takes its port from the job's number: one that is free."""
    job = next(number for number in range(os.getpid() % 4096, 8192) if is_free(61440 + number % 4096))
    told = {"JOB_ID": job, "STEP_NODELIST": "localhost", "NTASKS": 2, "PROCID": index, "LOCALID": index}
    return {f"SLURM_{name}": str(value) for name, value in told.items()}


def is_free(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0


def ends(*processes, seconds=240):
    """Exit code, standard output and standard error of each."""
    try:
        told = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


def test_two_hosts_follow_the_curve_of_one(data, tmp_path, port):
    team = [start(data, tmp_path / "run", "--steps", 60, *of_two(port, index)) for index in range(2)]
    (first, printed, said), (second, other_printed, other_said) = ends(*team)
    assert (first, second) == (0, 0), said + other_said
    assert json.loads(printed)["step"] == 60 and not other_printed
    assert "training" in said and "training" not in other_said
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"run.json", "model.safetensors", "linear.safetensors", "training.safetensors"}
    assert len(list(data.iterdir())) > 3
    alone = train_run(cf.Episodes.load(data), RunSettings(CONFIG, history=2))
    ours = cf.load(tmp_path / "run")
    for name in ("loss", "validation_loss"):
        assert [point[name] for point in ours.curves] == pytest.approx([p[name] for p in alone.curves], rel=1e-3)
    for one, other in zip(ours.denoiser.state_weights, alone.denoiser.state_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_interrupt_on_one_host_ends_all_and_leaves_a_checkpoint(data, tmp_path):
    """Of hosts that SLURM has started."""
    options = ("--steps", 100_000, "--checkpoint-seconds", 0)
    team = [start(data, tmp_path / "run", *options, **slurm_of_two(index)) for index in range(2)]
    checkpoint, deadline = tmp_path / "run" / "training.safetensors", time.monotonic() + 200
    while not checkpoint.exists() and time.monotonic() < deadline and team[1].poll() is None:
        time.sleep(0.1)
    team[1].send_signal(signal.SIGINT)
    (first, printed, said), (second, other_printed, other_said) = ends(*team)
    assert (first, second) == (130, 130), said + other_said
    assert "--resume" in said and "on all hosts" in said and "--resume" not in other_said
    assert not printed and not other_printed
    assert load_description(checkpoint)["kind"] == "training" and not (tmp_path / "run" / "model.safetensors").exists()


def test_what_fails_on_one_host_ends_all_with_one_sentence(data, tmp_path, port):
    """The second host's data are not there; without word of it, the first would wait for it in vain."""
    team = [start(folder, tmp_path / "run", *of_two(port, index)) for index, folder in enumerate((data, "none"))]
    (first, _, said), (second, _, other_said) = ends(*team)
    assert (first, second) == (1, 1), said + other_said
    assert said.count("Error:") == 1 and "Host 1 of 2" in said and "none" in said
    assert "Error:" not in other_said and "Traceback" not in said + other_said


def test_without_a_cluster_the_others_must_be_named(data, tmp_path):
    """In a process of its own, since JAX looks for a cluster before it computes anything."""
    ((code, _, said),) = ends(start(data, tmp_path / "run"))
    assert code == 1 and said.count("Error:") == 1 and "SLURM" in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--coordinator", "127.0.0.1:1"), "add --hosts"),
        (("--hosts", "--coordinator", "127.0.0.1:1"), "together"),
        (("--hosts", "--coordinator", "127.0.0.1:1", "--host-index", "2", "--num-hosts", "2"), "0 to 1"),
        (("--hosts", "--coordinator", "127.0.0.1:1", "--host-index", "-1", "--num-hosts", "2"), "0 to 1"),
        (("--hosts", "--coordinator", "127.0.0.1:1", "--host-index", "0", "--num-hosts", "0"), "at least 1"),
        (("--hosts", "--coordinator", "somewhere", "--host-index", "0", "--num-hosts", "2"), "HOST:PORT"),
        (("--hosts", "--hosts-patience", "0"), "positive"),
    ],
)
def test_options_that_name_no_team_are_refused(data, tmp_path, capsys, options, words):
    assert cli.main(["train", str(data), "--out", str(tmp_path / "run"), *options]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("Error:") == 1 and words in said
    assert not (tmp_path / "run").exists()


def test_a_first_host_that_is_not_there_is_told(data, tmp_path, capsys, port):
    team = ("--coordinator", f"127.0.0.1:{port}", "--host-index", "1", "--num-hosts", "2", "--hosts-patience", "1")
    assert cli.main(["train", str(data), "--out", str(tmp_path / "run"), "--hosts", *team]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"127.0.0.1:{port} within 1 seconds" in said and "host index 0" in said


def test_the_first_host_tells_who_is_missing(port):
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(wait_for_hosts, port, 4, 3.0)
        with pytest.raises(InputError, match="within 2 seconds"):
            report_to_first(("127.0.0.1", port), 2, 4, 2.0)
        with pytest.raises(InputError, match="of 4 hosts did not report: 1, 3"):
            waiting.result()


def test_reports_that_do_not_fit_are_refused_and_the_others_meet(port):
    address = ("127.0.0.1", port)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(wait_for_hosts, port, 3, 60.0)
        good = threads.submit(report_to_first, address, 1, 3, 60.0)
        with pytest.raises(InputError, match="waits for 3 hosts, not 2"):
            report_to_first(address, 1, 2, 60.0)
        for stranger in (b"GET / HTTP/1.1\r\n\r\n", b""):
            with socket.create_connection(address) as connection:
                connection.sendall(stranger)
        taken = threads.submit(report_to_first, address, 2, 3, 60.0)
        assert waiting.result() is None and good.result() is None and taken.result() is None


def test_each_host_has_an_index_of_its_own(port):
    address = ("127.0.0.1", port)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(wait_for_hosts, port, 3, 60.0)
        twins = [threads.submit(report_to_first, address, 1, 3, 60.0) for _ in range(2)]
        while not any(twin.done() for twin in twins):
            time.sleep(0.01)
        report_to_first(address, 2, 3, 60.0)
        waiting.result()
        failures = [str(twin.exception()) for twin in twins if twin.exception() is not None]
    assert len(failures) == 1 and "index 1 already" in failures[0]


def test_a_port_in_use_is_told(port):
    with socket.create_server(("", port)), pytest.raises(InputError, match=f"Port {port} of this host cannot be used"):
        wait_for_hosts(port, 2, 1.0)


def test_hosts_join_before_anything_is_computed():
    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    with pytest.raises(InputError, match="before"):
        join_hosts()
