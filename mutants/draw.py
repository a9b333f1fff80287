"""Draws mutants: changes of one place in the code, of the kinds that cosmic-ray makes.

A place is drawn first, then one of the changes that are possible there, so that an operator for which there are eleven
replacements counts once. Ranks come from hashes of the seed and of the lines' texts. So the first mutants of a longer
draw are those of a shorter one, and a change elsewhere in the code leaves the draw as it was.
"""

import ast
import difflib
import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

EQUAL = Path(__file__).with_name("equal.toml")
DECORATORS = ("jit", "abstractmethod", "runtime_checkable")  # without these, what is computed stays the same
GUARDS = ("strict", "frozen")  # arguments that only stop what never happens: rows too many, results overwritten


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        module: path of the module from the root of the project.
        operator: cosmic-ray's name of the kind of change.
        occurrence: which of the module's places for this operator is changed.
        place: line and column of the change, the line counted from 1.
        line: text of the changed line before the change.
        source: the whole module after the change; empty until it is made.
        diff: what changed, as `diff -u` prints it, without context.
    """

    module: str
    operator: str
    occurrence: int
    place: tuple[int, int]
    line: str
    source: str = ""
    diff: str = ""


@dataclass(frozen=True)
class Equal:
    """A mutant shown to do the same as the module, from `equal.toml`; `operator` may hold wildcards.

    Attributes:
        module: path of the module.
        operator: kind of change.
        line: text of the line before the change.
        reason: why nothing can notice.
        becomes: text of the line after the change; where it is left out, every change of this kind is meant.
    """

    module: str
    operator: str
    line: str
    reason: str
    becomes: str | None = None

    def covers(self, mutant: Mutant) -> bool:
        """Whether it speaks of this mutant."""
        same = (self.module, self.line) == (mutant.module, mutant.line) and fnmatch(mutant.operator, self.operator)
        return same and (self.becomes is None or f"\n+{self.becomes}\n" in _unindented(mutant.diff))


def read_equal(path: Path = EQUAL) -> list[Equal]:
    """The mutants that are known to be equal."""
    return [Equal(**entry) for entry in tomllib.loads(path.read_text()).get("equal", [])]


def draw(root: Path, modules: list[str], number: int, seed: int, equal: list[Equal]) -> list[Mutant]:
    """At most `number` mutants of these modules, each at a place of its own."""
    sources = {module: (root / module).read_text() for module in modules}
    ranked: dict[int, list[Mutant]] = {}
    for module, source in sources.items():
        for alike, group in _places(module, source):
            rank = _rank(seed, module, group[0].line, group[0].place[1], alike)
            ranked[rank] = sorted(group, key=lambda one, rank=rank: _rank(rank, one.operator, one.occurrence))
    drawn = []
    for rank in sorted(ranked):
        if len(drawn) == number:
            break
        made = (make(mutant, sources[mutant.module]) for mutant in ranked[rank])
        differing = (one for one in made if one and not any(known.covers(one) for known in equal))
        drawn += [one for one in (next(differing, None),) if one]
    return drawn


def make(mutant: Mutant, source: str) -> Mutant | None:
    """The mutant with its source; None where the change leaves no program, or the same program."""
    changed = mutate_code(source, get_operator(f"core/{mutant.operator}")(), mutant.occurrence)
    try:
        if changed is None or ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            return None
        compile(changed, mutant.module, "exec")
    except SyntaxError:
        return None
    lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), mutant.module, "mutant", n=0, lineterm="")
    return replace(mutant, source=changed, diff="\n".join(lines) + "\n")


def possible(module: str, source: str) -> Iterator[Mutant]:
    """Every change that cosmic-ray's operators make, but those that cannot change what the module does."""
    lines, nodes = source.splitlines(), list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator_class: Any = get_operator(name)
        if operator_class.arguments():
            continue  # these want names of variables
        occurrence, operator = 0, operator_class()
        for node in nodes:
            for place, _ in operator.mutation_positions(node):
                if not without_effect(node):
                    text = lines[place[0] - 1].strip()
                    yield Mutant(module, name.removeprefix("core/"), occurrence, place, text)
                occurrence += 1


def without_effect(node) -> bool:
    """Whether the node is part of an annotation, an error's message, a signature's `*`, a guard, an idle decorator."""
    if node.type == "decorator" and any(name in node.get_code() for name in DECORATORS):
        return True
    if node.type == "operator" and node.parent.type in ("parameters", "lambdef"):
        return True
    if node.type == "keyword" and node.parent.type == "argument" and node.parent.children[0].value in GUARDS:
        return True
    while node.parent is not None:
        node, parent = node.parent, node
        if node.type in ("raise_stmt", "tfpdef") or (node.type == "annassign" and parent is node.children[1]):
            return True
        if node.type == "funcdef" and parent is node.annotation:
            return True
    return False


def _places(module: str, source: str) -> Iterator[tuple[int, list[Mutant]]]:
    """The changes at each place, and how many lines with the same text and the same column come before."""
    groups: dict[tuple[int, int], list[Mutant]] = {}
    for mutant in possible(module, source):
        groups.setdefault(mutant.place, []).append(mutant)
    seen: Counter = Counter()
    for place in sorted(groups):
        key = groups[place][0].line, place[1]
        yield seen[key], groups[place]
        seen[key] += 1


def _rank(*values) -> int:
    return int.from_bytes(hashlib.sha256(repr(values).encode()).digest()[:8], "big")


def _unindented(diff: str) -> str:
    return "\n".join(line[0] + line[1:].strip() if line else line for line in diff.split("\n"))
