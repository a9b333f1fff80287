"""The record of a policy's training, written before it starts, so that a run that is resumed needs no other setting."""

import dataclasses
from pathlib import Path
from typing import Any

from composite_flow.errors import MismatchError
from composite_flow.files.plain_json import jsonable
from composite_flow.files.run_record import kept_settings, start_record
from composite_flow.policy.config import InferenceConfig, MappoConfig
from composite_flow.policy.saving import POLICY_FILE, SETTINGS_FILE


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """What a run depends on.

    Attributes:
        problem: as the command line names it.
        training: settings of MAPPO.
        seed: fixes everything that is drawn at random.
        denoiser: folder of the model that it starts from.
    """

    problem: str
    training: MappoConfig = dataclasses.field(default_factory=MappoConfig)
    seed: int = 0
    denoiser: str | None = None

    def flat(self) -> dict[str, Any]:
        """One level of names, as in the record."""
        others = {"problem": self.problem, "seed": self.seed, "denoiser": self.denoiser}
        return jsonable({**dataclasses.asdict(self.training), **others})

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> "PolicySettings":
        """The inverse of `flat`."""
        training = {name: value for name, value in values.items() if name not in ("problem", "seed", "denoiser")}
        training["inference"] = InferenceConfig(**training["inference"])
        return cls(values["problem"], MappoConfig(**training), values["seed"], values["denoiser"])


def start_or_resume(folder: Path, settings: PolicySettings, *, resume: bool, overwrite: bool) -> PolicySettings:
    """The settings of a run: those given, kept in its record, or those kept there by the run that is resumed.

    Args:
        folder: of the run.
        settings: as given now; of a run to resume, what differs from the defaults must agree with its own.
        resume: go on with the run in the folder, if there is one.
        overwrite: an earlier run in the folder may be replaced.

    Raises:
        FileError: a run is in the way, or the folder holds none to resume.
        MismatchError: another problem, or a setting that the run to resume does not have.
    """
    path = folder / SETTINGS_FILE
    if resume and path.exists():
        kept = kept_settings(path, settings.flat(), {**PolicySettings("").flat(), "problem": settings.problem})
        if kept["problem"] != settings.problem:
            raise MismatchError(
                f"{folder} was started for {kept['problem']}; name that problem, or choose another --out."
            )
        return PolicySettings.from_flat(kept)
    start_record(path, settings.flat(), POLICY_FILE, resume=resume, overwrite=overwrite)
    return settings
