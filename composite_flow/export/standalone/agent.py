"""One agent of a team, on NumPy and onnxruntime: the `Agent` of composite-flow, of a folder that it exported.

agent = Agent("exported", 3)
agent.observe(observation)
message = agent.to_send()                   # to the others
agent.receive(sender, step, message)        # from them
estimate = agent.estimate()                 # .mean, .variance, .participants, in the state's own units
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from composite_flow.errors import FileError, InputError
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.memory import Memory
from composite_flow.runtime.names import agent_number
from composite_flow.runtime.sent import Sent, SentShape

FORMAT = 1


class Estimate(NamedTuple):
    """What a team says together, in the state's own units; attributes as in `TeamEstimate`."""

    mean: np.ndarray
    variance: np.ndarray
    participants: np.ndarray


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
            SentShape(np.asarray(one["is_number"], bool), np.asarray(one["unit"], np.float32), one["rest"])
            for one in self.about.get("answers", [])
        ]
        reach = self._folder / "calibration.npz"
        self.reach = dict(np.load(reach)) if reach.exists() else None

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


class Agent:
    """One agent of a team; methods as those of `composite_flow.Agent`."""

    def __init__(self, folder: str | Path | Exported, agent: int | str, *, max_age: int = 0):
        """An agent that has seen nothing yet."""
        self.exported = folder if isinstance(folder, Exported) else Exported(folder)
        self.layout, self.max_age = self.exported.about["layout"], max_age
        self.state_names = self.exported.about["state_names"]
        self.number = agent_number(agent, self.layout["num_agents"])
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        sizes = (self.layout[name] for name in ("length", "observation_size", "num_actions"))
        self._memory, self._said, self._context = Memory(*sizes), None, None
        self._inbox = Inbox(self.layout["num_agents"], self.number, self.max_age)

    @property
    def step(self) -> int:
        """Number of the present step; −1 before the first."""
        return self._memory.step

    @property
    def sees(self) -> bool:
        """Whether it observed the present step."""
        return self._memory.sees

    @property
    def history(self) -> np.ndarray:
        """Its history as networks read it: observations, actions one-hot, mask, agent one-hot."""
        memory, actions = self._memory, np.eye(self.layout["num_actions"], dtype=np.float32)
        taken = actions[memory.actions] * memory.mask[:-1, None]
        identity = np.arange(self.layout["num_agents"]) == self.number
        parts = (memory.observations, taken, memory.mask, identity)
        return np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts])

    def observe(self, observation, action: int | None = None, step: int | None = None, *, begins: bool = False) -> None:
        """Take in what it sees now."""
        self._memory.observe(observation, action, step, begins=begins)
        self._said = self._context = None
        if begins:
            self._inbox.forget(before=self.step)

    def miss(self, step: int | None = None) -> None:
        """A step at which it sees nothing."""
        self._memory.miss(step)
        self._said = self._context = None

    def to_send(self) -> Sent:
        """What its own history says, to be sent to all others."""
        if self._said is None:
            self._check_sees()
            self._said = Sent(*(part[0] for part in self.exported.call("answer", history=self.history[None])))
        return self._said

    def hop(self, y: np.ndarray) -> np.ndarray:
        """f(τ, y) of each row of y: composite diffusion."""
        if self._context is None:
            self._check_sees()
            (self._context,) = self.exported.call("condition", history=self.history[None])
        return self.exported.call("denoise", context=np.repeat(self._context, len(y), axis=0), y=y)[0]

    def receive(self, sender: int, step: int, message: Sent) -> bool:
        """Take in another's answer; the first one of a sender and step counts."""
        if 0 <= sender < len(self.exported.shapes) and not self.exported.shapes[sender].fits(message):
            raise InputError(f"What agent {sender} sent is no answer of this model's agents.")
        return self._inbox.receive(int(sender), int(step), message)

    @property
    def num_answers(self) -> int:
        """How many others have answered at this step."""
        return self._inbox.count(self.step)

    def heard(self, within: int | None = None) -> dict[int, int]:
        """Whose answers count now, itself aside, and of which step they are."""
        found = self._inbox.heard(self.step, self.max_age if within is None else within)
        return {sender: step for sender, (step, _) in found.items()}

    def estimate(self, within: int | None = None) -> Estimate:
        """What those heard and itself say together."""
        found = self._inbox.heard(self.step, self.max_age if within is None else within)
        heard = {sender: sent for sender, (_, sent) in found.items()}
        if self.sees:
            heard[self.number] = self.to_send()
        if not heard:
            raise InputError("Nobody has answered at this step, not even this agent: nothing can be inferred.")
        sums = np.sum([self._spread(sender, sent) for sender, sent in sorted(heard.items())], axis=0)
        evidence, weight, precision = sums[:, None]
        mean, variance = self.exported.call("fuse", evidence=evidence, weight=weight, precision=precision)
        return Estimate(mean[0], variance[0], np.isin(np.arange(self.layout["num_agents"]), list(heard)))

    def intervals(self, found: Estimate, level: float) -> dict[str, list[float]] | None:
        """Bounds of each number at the next level that was measured; None where none was."""
        reach = self.exported.reach
        if reach is None or not (reach["levels"] >= level - 1e-9).any():
            return None
        row = int(np.argmax(reach["levels"] >= level - 1e-9))
        size = int(np.argmin(np.abs(reach["sizes"] - found.participants.sum())))
        half = reach["step"][size, row] * np.sqrt(found.variance)
        bounds = np.stack([found.mean - half, found.mean + half], axis=1).tolist()
        numbers = np.flatnonzero(self.exported.about["is_number"])
        return {self.state_names[place]: bounds[place] for place in numbers}

    def _spread(self, sender: int, sent: Sent) -> np.ndarray:
        """Evidence, weight and precision of every feature (3, state)."""
        about, size = self.exported.about, len(self.state_names)
        if about["slots"] is None:
            return np.stack(sent[:3])
        places, found = np.asarray(about["slots"][sender]), np.zeros((3, size), np.float32)
        for row, part in zip(found, sent[:3], strict=True):
            np.add.at(row, places[places < size], part[places < size])
        found[0] += sent.rest[0] * np.where(about["is_number"], about["prior_precision"], 1.0)
        return found

    def _check_sees(self) -> None:
        if not self.sees:
            raise InputError("This agent has observed nothing at this step, of which it could say something.")
