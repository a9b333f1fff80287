"""`reconstruct`: write the states that a team infers, on data whose states are known or only wanted."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from composite_flow.certificate.checks import certify_batch
from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import progress_bar, show, table
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.errors import FileError
from composite_flow.runs import RunData, choose_steps, open_run

ESTIMATES_FILE = "estimates.h5"
_CHUNK = 256  # joint histories between two steps of the progress bar


def reconstruct(
    run: RunFolder,
    data: DataFolder,
    /,
    out: Path,
    *,
    joint: int | None = None,
    samples: int = 16,
    sweeps: int = 6,
    stir: float = 0.0,
    radius: float | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Write the states that a team infers, with candidates and checks.

    `estimates.h5` holds, by step of the data: `estimates` and `candidates` in the state's own units, `shares` of the
    samples that reached each candidate, `accepted` (every sample of the estimate passed the checks).

    Args:
        run: folder of a finished run.
        data: folder of episodes; the run's test episodes of the data that it was trained on, of any other folder all.
        out: folder for estimates.h5.
        joint: joint histories to draw at random; all where not given.
        samples: noises per joint history.
        sweeps: passes through the agents.
        stir: noise that keeps flows from resting between states, such as 0.2 with 30 sweeps and more.
        radius: of the checks, in scaled units; the run's own where not given.
    """
    target = out / ESTIMATES_FILE
    refuse_existing(target, overwrite=shared.overwrite)
    opened = open_run(run, data)
    steps = choose_steps(opened.dataset, opened.dataset.num_steps if joint is None else joint, shared.seed)
    options = {"num_samples": samples, "num_sweeps": sweeps, "stir": stir}
    chunks = []
    with progress_bar("joint histories") as advance:
        for chunk in _estimated(opened, steps, jax.random.key(shared.seed), options, radius):
            chunks.append(chunk)
            advance(min(len(steps), _CHUNK * len(chunks)), len(steps))
    arrays = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    arrays |= {"steps": steps, "episodes": np.asarray(opened.dataset.windows.episode_of_step)[steps]}
    about = {"run": str(run), "data": str(data), "part": opened.part, "seed": shared.seed, **options}
    write_estimates(target, arrays, tuple(opened.model.state_names), about)
    result = {"estimates": str(target), "joint_histories": len(steps), "accepted": float(arrays["accepted"].mean())}
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Reconstructed {part_in_words(opened)} of {data}", ("", "value"), rows)], as_json=shared.json)


def _estimated(opened: RunData, steps: np.ndarray, key, options, radius) -> Iterator[dict[str, np.ndarray]]:
    """Estimates of these steps, a chunk at a time; all chunks have one size, so that one program runs."""
    model, size = opened.model, min(_CHUNK, len(steps))
    for number, first in enumerate(range(0, len(steps), size)):
        chunk = steps[first : first + size]
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk))])
        histories = opened.dataset.joint(padded).histories
        estimate = reconstruct_batch(model.denoiser, histories, key=jax.random.fold_in(key, number), **options)
        verdict = certify_batch(model.denoiser, histories, estimate, radius=opened.radius(radius))
        arrays = {
            "estimates": model.scaling.unscale(estimate.state),
            "candidates": model.scaling.unscale(estimate.candidates),
            "shares": estimate.shares,
            "filled": estimate.mask,
            "accepted": _estimate_passes(estimate, verdict.accepted),
            "accepted_share": jnp.mean(verdict.accepted, axis=-1),
        }
        yield {name: np.asarray(array)[: len(chunk)] for name, array in arrays.items()}


def _estimate_passes(estimate, accepted):
    """Whether all samples that ended nearest to the estimate pass the checks."""
    distances = jnp.linalg.norm(estimate.samples[:, :, None] - estimate.candidates[:, None], axis=-1)
    nearest = jnp.argmin(jnp.where(estimate.mask[:, None], distances, jnp.inf), axis=-1)
    return jnp.all(accepted | (nearest != 0), axis=-1)


def write_estimates(path: Path, arrays: dict[str, np.ndarray], state_names: tuple[str, ...], about: dict) -> None:
    """Write an HDF5 file, renamed into place when it is whole.

    Raises:
        FileError: it cannot be written, as on a full disk.
    """
    image = io.BytesIO()  # so that a full disk meets plain writes, never HDF5
    with h5py.File(image, "w") as file:
        file.attrs["format"] = "composite-flow estimates"
        file.attrs["state_names"] = json.dumps(state_names)
        file.attrs["about"] = json.dumps(about)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression=1)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(image.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path} could not be written: {error.strerror or error}.") from error
