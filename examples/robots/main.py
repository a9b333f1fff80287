"""Four robots infer where everything in their warehouse is: each a process of its own, without JAX, on a lossy bus.

    python examples/robots/main.py --robot-python .venv-robot/bin/python

Learns from logs, exports, starts four processes, loses a fifth of their messages, and switches robot 2 off and on. The
robots' Python needs numpy, onnxruntime and eclipse-zenoh; by default it is the one that runs this.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from warehouse import NAMES, ROBOTS, drive

import composite_flow as cf
from composite_flow.export.folder import export_model
from composite_flow.runtime.launcher import TeamProcesses, exported_command, replay

OPTIONS = ["--deadline", "0.2", "--lose", "0.2", "--bits", "16"]
OFF, ON = 8, 16  # the steps at which robot 2 is switched off, and on again


def learn(num_episodes, steps):
    """A model of the warehouse: what robots answer, and how far to trust it."""
    logs = cf.HistoryDataset(drive(num_episodes, 10, seed=0), length=3)
    train, validation, calibration = logs.split(key=jax.random.key(0))
    config = cf.TrainingConfig(learn="fusion", width=128, depth=3, batch=256, steps=steps, team_denoiser=False)
    model = cf.fit(train, validation, config, key=jax.random.key(1), calibration=calibration)
    return dataclasses.replace(model, state_names=NAMES)


def tell(step, found, truth):
    """A line: how many each robot heard, how far it is off on average, and what is known of the pallet."""
    error = {robot: np.abs(np.array(list(told["mean"].values())) - truth).mean() for robot, told in found.items()}
    heard = " ".join(str(len(found[robot]["participants"])) if robot in found else "-" for robot in range(ROBOTS))
    off = " ".join(f"{error[robot]:4.2f}" if robot in error else "  – " for robot in range(ROBOTS))
    low, high = next(iter(found.values()))["intervals"]["pallet x"]
    print(f"{step:4d}   {heard}   {off}   pallet x {truth[-2]:5.2f} in [{low:5.2f}, {high:5.2f}]")
    return error


def run(model, python, steps=24):
    """Replay a drive that nobody has learned from; returns each robot's mean error at each step."""
    drive_now, errors = drive(1, steps, seed=99), []
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "robots")
        commands = {
            robot: exported_command(str(Path(folder) / "robots"), robot, "warehouse", OPTIONS, python)
            for robot in range(ROBOTS)
        }
        with TeamProcesses("warehouse", commands) as team:
            team.wait_until_met()
            print("step  heard by each    metres off, by each robot")
            for step in range(steps):
                if step == OFF:
                    team.kill(2)
                if step == ON:
                    team.start(2)
                    team.wait_until_met()
                ((_, found),) = replay(team, drive_now, [step], 2.0)
                errors.append(tell(step, found, np.asarray(drive_now.states[step])))
    return errors


def main(num_episodes=1000, steps=3000, python=sys.executable):
    """Learn, export, run."""
    model = learn(num_episodes, steps)
    spread = np.asarray(drive(20, 10, seed=5).states).std(axis=0).mean()
    errors = run(model, python)
    mean = np.mean([error for told in errors for error in told.values()])
    print(f"{len(NAMES)} numbers, {mean:.2f} m off on average; who knows nothing is off by about {0.8 * spread:.2f} m.")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot-python", default=sys.executable)
    main(python=parser.parse_args().robot_python)
