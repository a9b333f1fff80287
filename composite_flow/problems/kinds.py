"""The table of kinds of problems: what the command line calls them, and how descriptions on disk are turned back.

A problem is named by a text such as `sensor:5x5,targets=2`:

    KIND[:NAME][,OPTION=VALUE ...]          FILE.dpomdp[,OPTION=VALUE ...]

KIND is looked up in the table first: built in, added by `register_problem`, or by an entry point of the group
`composite_flow.problems`. A text that begins with no such kind names a factory of one's own by MODULE:FACTORY in the
place of KIND, as in `my_worlds:make,size=3` or `my_worlds:make:5x5,size=3`. Rename a module that is called
like a kind.

Behind each kind stands a factory, a function or a class. NAME is its first argument, options are its arguments by name
(`factories.py` says how they are read). What data, models and policies keep is the problem's `description`, from which
a later command, in another process, makes the problem again:

- of a kind, by its factory with the entries of the description as arguments by name, all but `kind`;
- of a factory by MODULE:FACTORY likewise, where `kind` is "MODULE:FACTORY" itself. It must be a class of problems or be
  annotated to return one (`-> cf.Problem`), so that a file that others wrote can call nothing else; it can only make
  Python import a module that is installed here or lies in the working folder.

Whether that works is tried when a problem is first made from a text, not when the data are there.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.files.names import Names, in_short
from composite_flow.files.plain_json import describe_differences
from composite_flow.problems.base import EnumerableProblem, Problem
from composite_flow.problems.compiled.world import LibraryWorld
from composite_flow.problems.dpomdp.problem import DecPOMDP
from composite_flow.problems.factories import (
    dpomdp,
    jaxmarl,
    jumanji,
    read_arguments,
    returned_class,
    sensor,
    smacv2,
    smax,
    tabular,
)
from composite_flow.problems.host import AnyProblem, HostProblem
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.simulators import lbf, mpe2, pettingzoo, rware
from composite_flow.problems.smax import SMAX
from composite_flow.problems.tabular import TabularProblem

ENTRY_POINTS = "composite_flow.problems"
"""Group of the entry points by which installed packages add kinds."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        make: the factory: NAME first, where there is one, options by name.
        rebuild: makes a problem from its description; where None, the factory with the description's entries does.
        texts: how the command line names such problems, for messages.
        words: what entries of the description are called in messages, where not by their names.
    """

    make: Callable[..., Any]
    rebuild: Callable[[dict[str, Any]], AnyProblem] | None = None
    texts: tuple[str, ...] = ()
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def is_of(self, kinds: type | tuple[type, ...]) -> bool:
        """Whether its factory says that it returns such problems."""
        made = returned_class(self.make)
        return made is not None and issubclass(made, kinds)

    def from_description(self, description: dict[str, Any]) -> AnyProblem:
        """Make the problem of a description."""
        if self.rebuild is not None:
            return self.rebuild(description)
        return self.make(**{name: value for name, value in description.items() if name != "kind"})


_BUILT_IN = {
    "sensor": Kind(sensor, SensorNetwork.from_description, ("sensor:ROWSxCOLUMNS",)),
    "tabular": Kind(tabular, TabularProblem.from_description, ("tabular:tiger", "tabular:xor")),
    "dpomdp": Kind(dpomdp, DecPOMDP.from_description, ("FILE.dpomdp",)),
    "jaxmarl": Kind(jaxmarl, LibraryWorld.from_description, ("jaxmarl:NAME",)),
    "jumanji": Kind(jumanji, LibraryWorld.from_description, ("jumanji:NAME",)),
    "smax": Kind(smax, SMAX.from_description, ("smax:SCENARIO",), {"jaxmarl": "the version of JaxMARL"}),
    "pettingzoo": Kind(pettingzoo, texts=("pettingzoo:NAME",)),
    "mpe2": Kind(mpe2, texts=("mpe2:NAME",)),
    "lbf": Kind(lbf, texts=("lbf:NAME",)),
    "rware": Kind(rware, texts=("rware:NAME",)),
    "smacv2": Kind(smacv2, texts=("smacv2:SCENARIO",)),
}
_KINDS = Names("kind of problem", ENTRY_POINTS, _BUILT_IN)


def register_problem(kind: str, factory: Callable[..., AnyProblem]) -> None:
    """Add a kind of problem, so that texts and descriptions can name it, for the rest of the process.

        cf.register_problem("ring", Ring)          # then "ring,size=3", and {"kind": "ring", "size": 3}

    Commands in other processes know it by an entry point of the group `composite_flow.problems`, or by MODULE:FACTORY.

    Args:
        kind: its name, a letter followed by letters, digits, _ and -.
        factory: a function that returns a problem, or a class of problems. A text's NAME is its first argument, options
            and the entries of a description, all but `kind`, are its arguments by name.

    Raises:
        InputError: the name is taken, or is no such name.
    """
    _KINDS.register(kind, factory)


def problem_from_text(text: str) -> Problem:
    """The problem that a text names, such as `sensor:5x5,targets=2`.

    Args:
        text: as the module's head says. `sensor:2x2` is the paper's network with the paper's numbering; any other
            `sensor:ROWSxCOLUMNS` is a grid. Its options: `targets`, `miss` (one probability, or one per area as
            `0.5/0.5/0/0`), `move`, `reward`, `cost`, `steps`. `tabular:xor` and `tabular:tiger` have the option
            `steps`. `smax:zerg_5_vs_5`, `smax:3m` and all other scenarios of `SMAX` have `sight`, the allies', and
            `steps`. `my_worlds:make,size=3` calls `make(size=3)` of the module `my_worlds`.

    Raises:
        InputError: nothing of that name exists, an option cannot be used, the world runs outside of JAX, or a factory
            of one's own raises, gives something else, or a problem that its description does not give again.
    """
    problem = _made(text, host_allowed=False)
    assert isinstance(problem, Problem)
    return problem


def world_from_text(text: str) -> AnyProblem:
    """What a team can act in: a problem, as `problem_from_text` reads it, or a world on the host.

    Args:
        text: as for `problem_from_text`; also `smacv2:zerg_5_vs_5` and the other scenarios of `SMACv2`, with `steps`.

    Raises:
        InputError: as `problem_from_text`, or the world's library is missing.
    """
    return _made(text, host_allowed=True)


def names_a_world(text: str) -> bool:
    """Whether a text is meant as a world's, whatever may be wrong with it: it begins with a kind, or holds a colon."""
    head = text.partition(",")[0]
    return ":" in head or head.endswith((".dpomdp", ".dpomdp.gz")) or head in _KINDS.known()


def problem_from_description(description: dict[str, Any]) -> Problem:
    """Make a problem again from its `description`.

    Raises:
        InputError: the kind does not exist here, the description is damaged, or its world runs outside of JAX.
    """
    name = description.get("kind")
    found = _find(str(name))
    if found is None:
        raise InputError(
            f"There is no kind of problem '{name}' in this version: there are {', '.join(_KINDS.known())}."
        )
    if found.is_of(HostProblem):
        raise InputError(_only_collected(str(name)))
    try:
        problem = found.from_description(description)
    except CompositeFlowError:
        raise
    except Exception as error:  # whatever a factory of one's own makes of wrong entries
        raise InputError(
            f"The description of this {name} problem is damaged ({in_short(error)}): write it again."
        ) from error
    return _checked(str(name), problem, host_allowed=False)  # pyright: ignore[reportReturnType]


def listing_problem(description: dict[str, Any]) -> EnumerableProblem | None:
    """The problem of a description where its states can be listed; None where not, or where the kind is unknown here.

    Raises:
        InputError: the description is damaged.
    """
    try:
        found = _find(str(description.get("kind")))
    except InputError:  # of a module that is not here: others may use its data
        return None
    if found is None or not found.is_of(EnumerableProblem):
        return None
    problem = problem_from_description(description)
    return problem if isinstance(problem, EnumerableProblem) else None


def in_words(description: dict[str, Any], sentence: str) -> str:
    """A sentence of `describe_differences` with what a kind calls the entries of its descriptions."""
    found = _BUILT_IN.get(str(description.get("kind")))
    for entry, word in () if found is None else found.words.items():
        sentence = sentence.replace(f"{entry} (", f"{word} (")
    return sentence


def _find(name: str) -> Kind | None:
    """The row of the table; None where there is none."""
    found = _KINDS.find(name)
    if found is None or isinstance(found, Kind):
        return found
    if not callable(found):
        raise InputError(f"The kind of problem '{name}' cannot be called: it must be a function or a class.")
    kind = Kind(found)
    if ":" in name and not kind.is_of((Problem, HostProblem)):
        raise InputError(
            f"'{name}' is no class of problems and does not say that it returns one; annotate it, as in "
            "'def make(size: int) -> cf.Problem:'."
        )
    return kind


def _made(text: str, host_allowed: bool) -> AnyProblem:
    """The problem that a text names, held to the contract where it is of one's own."""
    if text.partition(",")[0].endswith((".dpomdp", ".dpomdp.gz")) and not text.startswith("dpomdp:"):
        text = f"dpomdp:{text}"
    head, *options = text.split(",")
    first, *rest = head.split(":")
    name, kind = first, _find(first)
    if kind is None and rest:
        name, kind, rest = f"{first}:{rest[0]}", _find(f"{first}:{rest[0]}"), rest[1:]
    if kind is None:
        raise InputError(f"There is no problem '{text}': there are {_existing(host_allowed)}.")
    if kind.is_of(HostProblem) and not host_allowed:
        raise InputError(_only_collected(name))
    positional, named = read_arguments(kind.make, text, ":".join(rest), options)
    try:
        problem = kind.make(*positional, **named)
    except CompositeFlowError:
        raise
    except Exception as error:  # whatever a factory of one's own raises
        raise InputError(f"'{text}' cannot be made: its factory raised {in_short(error)}.") from error
    problem = _checked(name, problem, host_allowed)
    if isinstance(problem, Problem) and not kind.texts:
        _check_description(name, problem)
    return problem


def _checked(name: str, problem: Any, host_allowed: bool) -> AnyProblem:
    """What a factory gave, which must be a problem."""
    if isinstance(problem, HostProblem) and not host_allowed:
        problem.close()
        raise InputError(_only_collected(name))
    if not isinstance(problem, (Problem, HostProblem)):
        raise InputError(f"The factory of '{name}' gave {type(problem).__name__}, which is no Problem or HostProblem.")
    return problem


def _check_description(name: str, problem: Problem) -> None:
    """Refuse a problem of one's own that a later command could not make again."""
    advice = f'give it {{"kind": "{name}", ...}} with the arguments of its factory'
    start = f"The description of the problem '{name}' does not give it again"
    try:
        description = json.loads(json.dumps(problem.description))
    except (TypeError, ValueError) as error:
        raise InputError(f"{start}, as JSON cannot hold it ({in_short(error)}); {advice}.") from error
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind is None or (":" in name and _KINDS.is_registered(kind)):
        raise InputError(f"{start}, as a later process does not know the kind {kind!r}; {advice}.")
    try:
        again = json.loads(json.dumps(problem_from_description(description).description))
    except CompositeFlowError as error:
        raise InputError(f"{start} ({str(error).rstrip('.')}); {advice}.") from error
    if again != description:
        raise InputError(f"{start}: it has {describe_differences(again, description)}; {advice}.")


def _existing(host_allowed: bool) -> str:
    """Texts of all kinds, and how to name one's own."""
    texts = [text for kind in _BUILT_IN.values() if host_allowed or not kind.is_of(HostProblem) for text in kind.texts]
    return ", ".join([*texts, *_KINDS.known()[len(_BUILT_IN) :], "or MODULE:FACTORY of your own"])


def _only_collected(name: str) -> str:
    return (
        f"{name} worlds run outside of JAX, so that episodes of them can be collected, but no policy be trained in "
        "them and no belief be computed: use smax:SCENARIO or another problem for that."
    )
