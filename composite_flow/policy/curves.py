"""Learning curves of a policy: a row per update, as CSV and, where a writer is installed, for TensorBoard."""

import csv
import importlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from composite_flow.errors import FileError
from composite_flow.metrics import decibels
from composite_flow.policy.mappo import Measures

CURVES_FILE = "policy_curves.csv"
TENSORBOARD_FOLDER = "tensorboard"

Row = dict[str, int | float | None]


def rows_of(measures: Measures, first: int, count: int, steps_per_update: int, wins: bool) -> list[Row]:
    """A row for each of `count` updates, the first of which has number `first`.

    What is a mean over episodes is None where none ended, and the win rate also where the problem tells none; so are
    the quality of inferred states (psnr) where none are inferred, and the loss of a denoiser where none learns.
    """
    measures = jax.tree.map(np.asarray, measures)
    finished, rows = measures.finished, []
    for row in range(count):
        episodes = int(finished.count[row])

        def mean(sums, row=row, episodes=episodes) -> float | None:
            return float(sums[row]) / episodes if episodes else None

        rows.append(
            {
                "update": first + row + 1,
                "steps": (first + row + 1) * steps_per_update,
                "episodes": episodes,
                "return": mean(finished.earned),
                "length": mean(finished.length),
                "win_rate": mean(finished.won) if wins else None,
                **{
                    name: float(getattr(measures, name)[row])
                    for name in ("entropy", "policy_loss", "value_loss", "divergence", "clipped")
                },
                "psnr": _psnr(float(measures.squared_error[row])),
                "denoiser_loss": float(measures.denoiser_loss[row]) or None,
            }
        )
    return rows


def _psnr(squared_error: float) -> float | None:
    """Of the inferred states; None where nothing is inferred."""
    return float(decibels(squared_error)) if squared_error > 0 else None


def recent(rows: Sequence[Row], name: str, episodes: int = 200) -> float | None:
    """Mean of a row's value over the latest episodes, about so many; None where there are none."""
    total, count = 0.0, 0
    for row in reversed(rows):
        value, ended = row[name], row["episodes"]
        if value is not None and ended:
            total, count = total + value * ended, count + int(ended)
        if count >= episodes:
            break
    return total / count if count else None


def write_curves(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows to a partial file and rename it into place.

    Raises:
        FileError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["update"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text.getvalue())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error


class TensorBoard:
    """Rows to TensorBoard's event files, where `tensorboardX` (extra `tensorboard`) is installed; else nothing.

    A run that goes on from a checkpoint hides what an interrupted one wrote after it.
    """

    def __init__(self, folder: Path | None, steps: int):
        self.writer: Any = None
        if folder is None:
            return
        try:
            library = importlib.import_module("tensorboardX")
        except ImportError:
            return
        self.writer = library.SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=steps + 1)

    def add(self, rows: Sequence[Row]) -> None:
        """Write some rows."""
        if self.writer is None:
            return
        for row in rows:
            for name, value in row.items():
                if value is not None and name not in ("update", "steps"):
                    self.writer.add_scalar(name, value, row["steps"])
        self.writer.flush()

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()
