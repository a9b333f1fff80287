"""A folder that composite-flow exported: its manifest, its functions on onnxruntime, and what was measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from composite_flow.errors import FileError, InputError
from composite_flow.export.standalone.verdict import Judge
from composite_flow.runtime.sent import SentShape

FORMAT = 3


class Exported:
    """A folder: its manifest, and its functions as they are asked for."""

    def __init__(self, folder: str | Path):
        """Read the manifest.

        Raises:
            FileError: it is missing, damaged, or of another version.
        """
        self._folder, self._sessions = Path(folder), {}
        path = self._folder / "manifest.json"
        try:
            self.about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(f"{path} cannot be read: {error}; export the model anew.") from None
        if self.about.get("format") != FORMAT or self.about.get("form") != "onnx":
            raise FileError(f"{path} is of another version or form than this agent reads; export the model anew.")
        self.shapes = [
            SentShape(np.asarray(one.pop("is_number"), bool), np.asarray(one.pop("unit"), np.float32), **one)
            for one in self.about.get("answers", [])
        ]
        path = self._folder / "measured.npz"
        self.measured: dict[str, np.ndarray] = dict(np.load(path)) if path.exists() else {}
        self.judge = Judge(self.about, self.measured) if self.shapes else None

    @property
    def sums_shape(self) -> SentShape:
        """Of answers of every feature, as they are summed up along a tree."""
        number, before = (
            np.asarray(self.about["is_number"], bool),
            np.asarray(self.about["prior"]["precision"], np.float32),
        )
        rest = self.shapes[0].rest if self.about["slots"] is None else 0
        return SentShape(number, np.where(number, before, np.float32(1.0)), rest, 0)

    @property
    def carries(self) -> str | None:
        """The kind of filter that carries what the team knows over time; None where none was learned."""
        return (self.about.get("over_time") or {}).get("kind")

    def shapes_of(self, over_time: bool) -> list[SentShape]:
        """Of every agent's answers; over time of those beside what a team carries."""
        return [self.sums_shape._replace(rest=0)] * len(self.shapes) if over_time else self.shapes

    def checksum(self, over_time: bool, by_chain: bool) -> bytes:
        """Of what members of a team speak of, by which they understand each other."""
        about = self.about["over_time"] if over_time else self.about["chain"] if by_chain else self.about
        return bytes.fromhex(about["checksum"])

    def call(self, name: str, **arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs of a function, of one example."""
        if name not in self.about["functions"]:
            raise InputError(f"This folder has no `{name}`: the model did not learn it.")
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            path = str(self._folder / f"{name}.onnx")
            self._sessions[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self._sessions[name].run(None, {key: np.asarray(part, np.float32) for key, part in arrays.items()})
