"""`demo`: a ready-made experiment, whose modules are loaded only when it is asked for."""

from pathlib import Path

from tyro.conf import OmitArgPrefixes

from composite_flow.cli.evaluate import evaluation_tables
from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import say, show, status, table


def demo(out: Path = Path("runs/demo"), *, shared: OmitArgPrefixes[Shared] = Shared()) -> None:  # noqa: B008 (frozen)
    """See nine sensors with partial views agree on where two targets are: collect, train, reconstruct, check.

    Writes summary.json and a picture, reconstruction.svg and .png. Takes about two minutes on two cores.

    Args:
        out: folder for the results.
    """
    from composite_flow_paper.experiment import load_experiment, run

    found = load_experiment("demo")
    with status() as progress:
        options = {"seed": shared.seed, "overwrite": shared.overwrite, "progress": progress}
        summary = run(found, found.preset("laptop"), out, **options).summary
    tables = (*(table(*content) for content in found.tables(summary)), *evaluation_tables(summary))
    show(summary, tables, as_json=shared.json)
    say(f"One reconstruction is drawn in {out / 'reconstruction.png'}; all numbers are in {out / 'summary.json'}.")
