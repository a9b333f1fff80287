"""`analyze`: fixed points, ranks, deviations and bounds of a trained run. Its modules are loaded when it is called."""

from pathlib import Path
from typing import Annotated, Any

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.knowledge import analyze_problem
from composite_flow.cli.options import Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import say, show, status, table
from composite_flow.files.plain_json import jsonable, write_json
from composite_flow.runs import open_run

ANALYSIS_FILE = "analysis.json"


def analyze(
    run: Annotated[Positional[Path], arg(metavar="RUN|FILE.dpomdp")],
    data: Annotated[Positional[Path | None], arg(metavar="DATA")] = None,
    /,
    *,
    max_pairs: int = 20_000,
    anchors: int = 500,
    joint: int = 64,
    radius: float | None = None,
    out: Path | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Tell where a run's fixed points deviate from states, or what can be known in a problem.

    Given a run and data, tells why fixed points deviate, and by how much at most.

    Looks at the run's test episodes, or at all of data that it was not trained on: one half gives the conformal radii
    and their coverage, the other half everything else. Writes analysis.json and figures.

    Given a problem alone whose states can be listed, such as FILE.dpomdp, tells what each agent can know of the state
    from its own history, what the team can, and what fusion and composite diffusion reach of it, all of it exactly.

    Args:
        run: folder of a finished run; or a problem, such as tiger.dpomdp, tiger.dpomdp,steps=8 or tabular:xor.
        data: folder of episodes; none for a problem.
        max_pairs: distinct pairs of a history and a state to look at, at most.
        anchors: pairs around which surrogate regressions are solved.
        joint: joint histories for composite diffusion.
        radius: of the checks, in scaled units; the run's own where not given.
        out: folder for the results; RUN/analysis where not given, and none for a problem.
    """
    if data is None:
        analyze_problem(str(run), joint, out, shared)
        return
    from composite_flow.analysis.report import AnalysisSettings, analyse
    from composite_flow.analysis.sentences import sentences
    from composite_flow.certificate.calibration import split_for_calibration
    from composite_flow.plots import analysis as analysis_plot

    folder = run / "analysis" if out is None else out
    refuse_existing(folder / ANALYSIS_FILE, overwrite=shared.overwrite)
    opened = open_run(run, data)
    say(f"Analyzing {run} on {part_in_words(opened)} of {data}.")
    key_halves, key = jax.random.split(jax.random.key(shared.seed))
    calibration, described = split_for_calibration(opened.dataset, key=key_halves)
    with status() as progress:
        found = analyse(
            opened.model.denoiser,
            described,
            calibration,
            described,
            radius=opened.radius(radius),
            key=key,
            settings=AnalysisSettings(max_pairs=max_pairs, num_anchors=anchors, num_joint=joint),
            progress=progress,
            answers=opened.model.answers,
        )
        result = jsonable({"summary": sentences(found), "part": opened.part, **found})
        write_json(folder / ANALYSIS_FILE, result)
        analysis_plot.draw(result, folder)
    if not shared.json:
        for sentence in result["summary"]:
            say(sentence)
    show(result, analysis_tables(result), as_json=shared.json)
    say(f"Figures and numbers are in {folder}.")


def analysis_tables(result: dict[str, Any]):
    """Ranks by threshold, bounds by ε, conformal radii, and the theorems on composite diffusion."""
    return (
        table(
            "Rank of the sensitivity J⁺ by threshold, relative to the largest singular value, against deviations",
            ("columns of τ", "threshold", "median", "largest", "Spearman", "95% interval"),
            [
                (columns, *_rank_row(name, row))
                for columns, kind in (("all", "all_columns"), ("observations, actions", "varying_columns"))
                for name, row in result["ranks"][kind]["measures"].items()
            ],
        ),
        table(
            "Residual of the surrogate regression as a bound on deviations",
            ("pairs within ε", "ε", "R̂ covers", "R̂ / deviation", "√R̂ covers", "√R̂ / deviation"),
            [_bound_row(row) for row in (result["surrogate"] or {"epsilons": []})["epsilons"]],
        ),
        table(
            "Conformal radii of whole episodes, and the share of other episodes that they cover",
            ("", "episodes", "level", "radius", "others", "covered"),
            [row for kind, found in result["conformal"].items() for row in _conformal_rows(kind, found)],
        ),
        table(
            "Composite diffusion: share of joint histories for which a claim held",
            ("claim", "all samples", "accepted"),
            [
                (name, rates["all"]["rate"], rates["accepted_by_paper"]["rate"])
                for name, rates in result["composite"]["theorem_7"].items()
            ],
        ),
    )


def _rank_row(name: str, found: dict[str, Any]):
    interval = found["correlation"]["interval"]
    shown = None if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return (name, found["median"], found["max"], found["correlation"]["value"], shown)


def _bound_row(row: dict[str, Any]):
    kinds = ("residual", "root")
    return (f"{row['quantile']:.0%}", row["epsilon"], *(row[k][m] for k in kinds for m in ("share", "ratio_median")))


def _conformal_rows(kind: str, found: dict[str, Any]):
    for level, row in found["levels"].items():
        shown = "infinite" if row["radius"] is None else row["radius"]
        yield (kind, found["episodes"], f"{float(level):.0%}", shown, found["other_episodes"], row.get("coverage"))
