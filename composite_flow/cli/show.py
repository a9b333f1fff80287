"""`show`: write a page in which one watches agents infer and agree."""

from pathlib import Path

from tyro.conf import OmitArgPrefixes

from composite_flow.cli import reporting
from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.errors import InputError
from composite_flow.page import show as write_page
from composite_flow.runs import open_run


def show(
    run: RunFolder,
    data: DataFolder,
    /,
    out: Path,
    *,
    episodes: int = 20,
    title: str | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Write a page in which one watches agents infer and agree: one HTML file, for any browser, without a network.

    Scrub through steps, mute agents, change their order, and let the message travel from agent to agent.

    Args:
        run: folder of a finished run.
        data: folder of episodes; the run's test episodes of the data that it was trained on, of any other folder all.
        out: the file, which ends with .html.
        episodes: how many of them, from the first on.
        title: of the page; the names of the two folders where not given.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"A page is written as .html, not as {out.suffix or 'a folder'}: name an .html file.")
    refuse_existing(out, overwrite=shared.overwrite)
    opened = open_run(run, data)
    named = title or f"{run.name} on {data.name}"
    options = {"num_episodes": episodes, "title": named, "seed": shared.seed, "overwrite": shared.overwrite}
    path = write_page(opened.model, opened.dataset, out, **options)
    shown = min(episodes, len(opened.dataset.episode_ids))
    result = {"page": str(path), "episodes": shown, "megabytes": path.stat().st_size / 2**20}
    title_of_table = f"A page of {part_in_words(opened)} of {data}"
    reporting.show(result, [reporting.table(title_of_table, ("", "value"), list(result.items()))], as_json=shared.json)
