"""Our MAPPO beside JaxMARL's: win rate at equal numbers of environment steps, and steps a second.

    python -m benchmarks.mappo_peer --script mappo_rnn_smax.py --peer-python .venv-peer/bin/python --out peer.json

`mappo_rnn_smax.py` stands in JaxMARL's repository (baselines/MAPPO), not in its wheel; it also needs distrax, flax,
hydra-core, omegaconf and wandb. It runs as it is, under its own settings (`PEER`); ours under our defaults, with a GRU,
in the same battle of the library, and once more with the rate that the peer's settings give Adam. The two differ in
more than code: batch, entropy, start positions near walls (`SMAX.reset`). Each trains in a process of its own, one
after the other, so that speeds on a shared machine are worth less than win rates.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import describe_machine, save

PEER = {
    "LR": 0.002, "NUM_ENVS": 128, "NUM_STEPS": 128, "FC_DIM_SIZE": 128, "GRU_HIDDEN_DIM": 128, "UPDATE_EPOCHS": 4,
    "NUM_MINIBATCHES": 4, "GAMMA": 0.99, "GAE_LAMBDA": 0.95, "CLIP_EPS": 0.2, "SCALE_CLIP_EPS": False, "ENT_COEF": 0.0,
    "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.25, "ACTIVATION": "relu", "OBS_WITH_AGENT_ID": True, "ANNEAL_LR": True,
    "ENV_KWARGS": {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"},
}  # fmt: skip
"""Of its own file `mappo_homogenous_rnn_smax.yaml`."""

OURS = {
    "ours": {},
    "ours, the peer's rate": {
        "learning_rate": PEER["LR"],
        "critic_learning_rate": PEER["LR"],
        "schedule": "linear",
    },
}
"""Where ours leave their defaults."""

POINTS = 10  # of each curve


def train_peer(script: Path, battle: str, steps: int, seed: int) -> list[dict]:
    """Rows of JaxMARL's training: steps, win rate, seconds."""
    import jax
    import wandb

    rows, started = [], time.monotonic()

    def log(row):
        # a row is told after the steps of one more update than it counts
        done = int(row["env_step"]) + PEER["NUM_ENVS"] * PEER["NUM_STEPS"]
        rows.append({"steps": done, "win_rate": float(row["win_rate"]), "seconds": time.monotonic() - started})

    wandb.log = log
    spec = importlib.util.spec_from_file_location("peer", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    train = module.make_train({**PEER, "MAP_NAME": battle, "TOTAL_TIMESTEPS": steps})
    jax.block_until_ready(jax.jit(train)(jax.random.PRNGKey(seed)))
    return rows


def train_ours(side: str, battle: str, steps: int, seed: int) -> list[dict]:
    """Rows of our training: steps, win rate, seconds."""
    import jax

    import composite_flow as cf

    config = cf.MappoConfig(steps=steps, **OURS[side])
    result = cf.train_policy(cf.problem_from_text(f"smax:{battle}"), config, key=jax.random.key(seed))
    return [{name: row[name] for name in ("steps", "win_rate", "seconds")} for row in result.curves]


def in_process(python: str, side: str, arguments: argparse.Namespace) -> list[dict]:
    """The rows of one side, trained by itself."""
    options = [arguments.script, arguments.battle, arguments.steps, arguments.seed]
    command = [python, "-m", "benchmarks.mappo_peer", "--serve", side, *(str(option) for option in options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def summed_up(rows: list[dict], steps: int) -> dict:
    """Mean win rate in each tenth of the budget, and steps a second without compilation."""
    parts = [[] for _ in range(POINTS)]
    for row in rows:
        if row["win_rate"] is not None and row["win_rate"] == row["win_rate"]:
            parts[min(POINTS - 1, (row["steps"] - 1) * POINTS // steps)].append(row["win_rate"])
    speed = (rows[-1]["steps"] - rows[0]["steps"]) / (rows[-1]["seconds"] - rows[0]["seconds"])
    return {"win_rates": [sum(part) / len(part) if part else None for part in parts], "steps_per_second": speed}


def main() -> None:
    """Parse, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--battle", default="smacv2_5_units")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        side, script, battle, steps, seed = arguments.serve
        told = (battle, int(steps), int(seed))
        print(json.dumps(train_peer(Path(script), *told) if side == "peer" else train_ours(side, *told)))
        return
    found = {}
    for side, python in (*((side, sys.executable) for side in OURS), ("peer", arguments.peer_python)):
        found[side] = summed_up(in_process(python, side, arguments), arguments.steps)
        print(side, json.dumps(found[side]))
    settings = {"battle": arguments.battle, "steps": arguments.steps, "seed": arguments.seed}
    document = {"machine": describe_machine(), "settings": settings, "sides": found}
    if arguments.out:
        save(arguments.out, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
