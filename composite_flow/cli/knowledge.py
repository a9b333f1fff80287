"""What `analyze` says of a problem alone: what can be known of its state, and by whom."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from composite_flow.cli.options import Shared, refuse_existing
from composite_flow.cli.reporting import say, show, status, table
from composite_flow.errors import InputError
from composite_flow.files.plain_json import jsonable, write_json
from composite_flow.problems.base import EnumerableProblem
from composite_flow.problems.kinds import problem_from_text

KNOWLEDGE_FILE = "knowledge.json"


def analyze_problem(text: str, num_joint: int, out: Path | None, shared: Shared) -> None:
    """Measure and print what can be known in a problem; write it where a folder is given.

    Raises:
        InputError: its states cannot be listed, or there is a folder of that name: then the data are missing.
    """
    from composite_flow.analysis.knowledge import knowledge

    if Path(text).is_dir():
        raise InputError(f"{text} is a folder: name the episodes as well, as in 'analyze RUN DATA'.")
    if out is not None:
        refuse_existing(out / KNOWLEDGE_FILE, overwrite=shared.overwrite)
    problem = problem_from_text(text)
    if not isinstance(problem, EnumerableProblem):
        raise InputError(f"The states of '{text}' cannot be listed, so that nothing exact can be said of it.")
    with status() as progress:
        progress(f"{text}: exact beliefs, and composite diffusion with the ideal denoiser")
        found = knowledge(problem, num_joint, key=jax.random.key(shared.seed))
    result = jsonable({"problem": text, "summary": sentences(asdict(found)), **asdict(found)})
    if out is not None:
        write_json(out / KNOWLEDGE_FILE, result)
    if not shared.json:
        for sentence in result["summary"]:
            say(sentence)
    show(result, [_table(text, result)], as_json=shared.json)


def sentences(found: dict[str, Any]) -> list[str]:
    """What was found, in sentences."""
    nobody, team, fusion = (found[name]["bits"] for name in ("nobody", "team", "fusion"))
    alone = [agent["bits"] for agent in found["agents"]]
    best = min(range(len(alone)), key=alone.__getitem__)
    return [
        f"Without a history {nobody:.2f} bits of the state are open; agent {best}, who knows most alone, leaves "
        f"{alone[best]:.2f}, and the team together {team:.2f}.",
        f"The sum of exact answers leaves {fusion:.2f} bits; composite diffusion with the ideal denoiser names the "
        f"true state in {found['composite']['right']:.0%} of the joint histories, the team's belief in "
        f"{found['team']['right']:.0%}.",
        f"In {found['excess']:.0%} of the joint histories every agent allows a state that all of them together exclude"
        + ("; there no passing round of single beliefs can tell." if found["excess"] else "."),
    ]


def _table(text: str, result: dict[str, Any]):
    """A row for each source."""
    sources = [("nobody", result["nobody"])]
    sources += [(f"agent {place} alone", known) for place, known in enumerate(result["agents"])]
    sources += [("the team, jointly", result["team"]), ("fusion of exact answers", result["fusion"])]
    sources += [("composite diffusion", result["composite"])]
    rows = [(name, *(known[part] for part in ("bits", "right", "certain", "states"))) for name, known in sources]
    columns = ("known by", "bits open", "right", "certain", "states left")
    return table(f"What can be known in {text}, of {result['num_joint']} joint histories", columns, rows)
