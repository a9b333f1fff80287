"""`train`: fit the shared denoiser to a folder of episodes, and keep with it all that `evaluate` needs."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import jax
from tyro.conf import OmitArgPrefixes, arg

from composite_flow.cli.devices import check_devices
from composite_flow.cli.live import PageOptions
from composite_flow.cli.options import DataFolder, Shared
from composite_flow.cli.reporting import Advance, progress_bar, say, show, table
from composite_flow.data import Episodes
from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.files.lock import locked
from composite_flow.files.run_record import LOCK_FILE
from composite_flow.model import Model
from composite_flow.page.live.server import PageServer
from composite_flow.page.live.training import TrainingPage
from composite_flow.runs import RunSettings, continued, start_or_resume, train_run
from composite_flow.training.devices import is_first_process, texts_of_all
from composite_flow.training.fit import TRAINING_FILE, TrainingConfig
from composite_flow.training.hosts import PATIENCE, check_same_on_all_hosts, join_hosts, on_all_hosts

_BUSY = "Another process is training in {out}; wait for its end, or choose another --out."
_NO_RADIUS = (
    "The radius of the checks could not be measured: a flow went to infinity on validation episodes, as where an "
    "observation lies far outside of what training saw. Give one to `evaluate` and `reconstruct` with --radius, or "
    "measure it on other episodes with `calibrate`."
)


@dataclass(frozen=True)
class Hosts:
    """Training on several hosts, each of which runs the same command."""

    hosts: bool = False
    """Share each batch with the other hosts; SLURM, Open MPI and Kubernetes tell who they are."""
    coordinator: str | None = None
    """Elsewhere: HOST:PORT of the first host, with a port that is free there."""
    host_index: int | None = None
    """Elsewhere: this host's number, from 0, the first."""
    num_hosts: int | None = None
    """Elsewhere: how many hosts there are."""
    hosts_patience: float = PATIENCE
    """Seconds that hosts wait for each other at the start."""

    def join(self) -> None:
        """Find the other hosts, where there are any.

        Raises:
            InputError: they cannot be found, or options were given without --hosts.
        """
        if self.hosts:
            join_hosts(self.coordinator, self.host_index, self.num_hosts, patience=self.hosts_patience)
        elif self != Hosts():
            raise InputError("Options of hosts were given for training on this one alone; add --hosts, or leave them.")


def train(
    data: DataFolder,
    /,
    out: Path,
    *,
    training: OmitArgPrefixes[TrainingConfig] = TrainingConfig(),  # noqa: B008 (frozen)
    history: int = 1,
    withhold_states: float = 0.0,
    start_from: Annotated[Path | None, arg(name="from", metavar="RUN")] = None,
    resume: Annotated[bool, arg(help="Go on with the run in --out, under the settings it was started with.")] = False,
    hosts: OmitArgPrefixes[Hosts] = Hosts(),  # noqa: B008 (frozen)
    page: OmitArgPrefixes[PageOptions] = PageOptions(),  # noqa: B008 (frozen)
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Train a denoiser on a folder of episodes.

    Four fifths of the episodes are trained on; a tenth measures progress and the radius of the checks; the last tenth
    is left for `evaluate`. An interrupted run goes on with --resume.

    Args:
        data: folder of episodes, as `collect` writes it.
        out: folder of the run.
        history: how many steps each agent's history reaches back (H), the present one included.
        withhold_states: share of the distinct states that training never sees.
        start_from: begin with the weights of this run, its network and history, on new episodes; agents may be new.
    """
    given = RunSettings(training, history, withhold_states, shared.seed)
    given = given if start_from is None else continued(given, start_from)
    hosts.join()
    check_devices()
    try:
        with _clean_standard_output():
            with page.served() if is_first_process() else nullcontext() as server:
                model = _trained(data, out, given, resume, shared.overwrite, server)
    except (CompositeFlowError, OSError, KeyboardInterrupt) as error:
        if is_first_process():
            raise
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from error  # the first one tells
    if is_first_process():
        result = {"run": str(out), "radius": model.radius, **model.curves[-1]}
        rows = [(name.replace("_", " "), value) for name, value in result.items()]
        show(result, [table(f"Trained {out}", ("", "value"), rows)], as_json=shared.json)
        if model.has_denoiser and model.radius is None:
            say(_NO_RADIUS)


def _trained(
    data: Path, out: Path, given: RunSettings, resume: bool, overwrite: bool, server: PageServer | None
) -> Model:
    """The model, on every host; the first one alone writes and tells progress."""
    with nullcontext() if not is_first_process() else locked(out / LOCK_FILE, _BUSY.format(out=out)):
        return _trained_alone(data, out, given, resume, overwrite, server)


def _trained_alone(
    data: Path, out: Path, given: RunSettings, resume: bool, overwrite: bool, server: PageServer | None
) -> Model:
    """The same once no other process trains in the folder."""
    episodes, settings = _started(data, out, given, resume, overwrite)
    page = None if server is None else TrainingPage(server, f"Training {out.name} on {data.name}", episodes.description)

    def tell(advance: Advance, step: int, total: int, loss: float) -> None:
        advance(step, total, f"loss {loss:.4f}")
        if page is not None:
            page.progress(step, total, f"loss {loss:.4f}")

    try:
        with progress_bar("training") if is_first_process() else nullcontext(lambda *_: None) as advance:
            model = train_run(
                episodes,
                settings,
                out,
                resume=resume,
                overwrite=overwrite,
                progress=partial(tell, advance),
                listener=page,
            )
        if page is not None:
            page.end(f"The training has ended; its model is in {out}.")
        return model
    except KeyboardInterrupt:
        sentence = f"Interrupted; go on with: composite-flow train {data} --out {out} --resume"
        if jax.process_count() > 1:
            sentence += " (on all hosts, with their options)"
        if page is not None:
            page.end(sentence)
        raise KeyboardInterrupt(sentence) from None
    except Exception as error:
        if jax.process_count() == 1:
            raise
        _end_at_once(error)


def _started(data: Path, out: Path, given: RunSettings, resume: bool, overwrite: bool) -> tuple[Episodes, RunSettings]:
    """The episodes, and the run's settings, which the first host writes or reads for all."""

    def start() -> tuple[Episodes, RunSettings]:
        episodes = Episodes.load(data)
        first = is_first_process()
        return episodes, start_or_resume(out, given, resume=resume, overwrite=overwrite) if first else given

    episodes, settings = on_all_hosts(start)
    settings = RunSettings.from_flat(json.loads(texts_of_all(json.dumps(settings.flat()))[0]))
    goes_on = resume and (out / TRAINING_FILE).exists()
    check_same_on_all_hosts(f"{episodes.num_steps} steps of data and {'a' if goes_on else 'no'} checkpoint to resume")
    return episodes, settings


def _end_at_once(error: Exception) -> NoReturn:
    """What fails on one host while they train: told there, and the others' connections break.

    JAX would first wait at its exit for the others, which wait for this host in turn, and abort after five minutes.
    """
    if isinstance(error, CompositeFlowError | OSError):
        say(f"Error: {'' if is_first_process() else f'Host {jax.process_index()}: '}{error}")
    elif isinstance(error, jax.errors.JaxRuntimeError) and is_first_process():
        say("Error: Another host broke off or cannot be reached any more; see there, and go on with --resume on all.")
    elif not isinstance(error, jax.errors.JaxRuntimeError):
        traceback.print_exception(error)
    os._exit(1)


@contextmanager
def _clean_standard_output() -> Iterator[None]:
    """With several hosts, what libraries print (Gloo tells its ranks) goes to standard error."""
    if jax.process_count() == 1:
        yield
        return
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
