"""`reproduce`: the figures and tables of the paper, whose modules are loaded only when they are asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg
from tyro.extras import literal_type_from_choices

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import say, show, status, table
from composite_flow.errors import InputError
from composite_flow_paper import experiments

_EXPERIMENTS = experiments()

if TYPE_CHECKING:
    from composite_flow_paper.process_pool import Executor

    Experiment = str
else:
    Experiment = literal_type_from_choices(tuple(_EXPERIMENTS))

Preset = Literal["smoke", "laptop", "paper"]
ClusterKind = Literal["slurm", "local", "debug"]


def reproduce(
    experiment: Annotated[
        Positional[Experiment],
        arg(
            metavar="{" + ",".join(_EXPERIMENTS) + "}",
            help="\n".join(_EXPERIMENTS.values()),
        ),
    ],
    /,
    out: Path | None = None,
    *,
    preset: Preset = "laptop",
    jobs: int | None = None,
    cluster: ClusterKind | None = None,
    partition: str | None = None,
    minutes: int = 240,
    cpus: int = 2,
    gpus: int = 0,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Reproduce a figure or table of the paper, or measure how costs grow with the number of agents.

    It computes cells, one for each seed or setting, and sums up after each. Those that are already in --out are kept
    and not computed again: after an interrupt, the same command goes on.

    Args:
        out: folder for the results; outputs/EXPERIMENT-PRESET where not given.
        preset: smoke takes seconds to minutes, laptop minutes (figure2, whose battles need a trained team: an hour;
            table1, figure5: hours), paper as long as the paper's own settings need.
        jobs: cells computed at once: on this machine each in a process on its share of the cores, one where not given;
            on SLURM as many as it starts. Times that are measured are longer beside others.
        cluster: compute cells as jobs of a SLURM cluster, whose machines must all see --out (needs the extra slurm);
            or as processes (local) or calls (debug) here, to try that.
        partition: of SLURM.
        minutes: that a cell may take on the cluster; what has saved its training goes on in a further job.
        cpus: of a cell on the cluster.
        gpus: of a cell on the cluster.

    Raises:
        InputError: there is no such preset, too few cores, or no such cluster.
    """
    from composite_flow_paper.experiment import load_experiment, run

    found = load_experiment(experiment)
    settings = found.preset(preset)
    folder = Path("outputs") / f"{experiment}-{preset}" if out is None else out
    execute = executor(folder, jobs, cluster, partition, minutes, cpus, gpus)
    with status() as progress:
        options = {"seed": shared.seed, "overwrite": shared.overwrite, "progress": progress}
        result = run(found, settings, folder, execute=execute, **options)
    show(result.summary, [table(*content) for content in found.tables(result.summary)], as_json=shared.json)
    say(f"Figures and numbers are in {folder}.")


def executor(
    folder: Path, jobs: int | None, kind: ClusterKind | None, partition: str | None, minutes: int, cpus: int, gpus: int
) -> "Executor":
    """What computes the cells: this process, several, or the jobs of a cluster.

    Raises:
        InputError: the options do not belong together, or what they ask for is not there.
    """
    from composite_flow_paper.cluster import Cluster, jobs_on
    from composite_flow_paper.process_pool import processes

    if kind != "slurm" and partition is not None:
        raise InputError("--partition is one of SLURM's; add --cluster slurm.")
    if kind is None:
        return processes(1 if jobs is None else jobs)
    at_once = 1 if jobs is None and kind != "slurm" else jobs
    return jobs_on(Cluster(kind, partition, minutes, cpus, gpus, at_once), folder / "jobs")
