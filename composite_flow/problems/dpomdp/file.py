"""From a `.dpomdp` file to a problem."""

from pathlib import Path

from composite_flow.errors import CompositeFlowError
from composite_flow.problems.dpomdp.grammar import read_tables
from composite_flow.problems.dpomdp.lines import compact, read_text
from composite_flow.problems.dpomdp.problem import DecPOMDP


def from_dpomdp(path: str | Path, *, num_steps: int = 16) -> DecPOMDP:
    """The problem of a `.dpomdp` file, the format of the MADP toolbox; also packed with gzip.

        problem = cf.from_dpomdp("tiger.dpomdp")
        episodes = cf.collect(problem, num_episodes=1024, key=key)

    Episodes and models keep the file's statements, so that they need not find it again.

    Args:
        path: of the file.
        num_steps: length of an episode; files do not say one.

    Returns:
        A problem whose states are one-hot, by their names, and whose observations are one-hot, zeros before the first
        action.

    Raises:
        FileError: it is missing or malformed; the message names file and line.
        TooLargeError: its tables are too large to hold.
        InputError: an episode has no step.
    """
    path = Path(path)
    text = read_text(path)
    try:
        tables = read_tables(text)
    except CompositeFlowError as error:
        error.args = (f"{path}, {error}",)
        raise
    return DecPOMDP(tables, num_steps=num_steps, name=path.name, source=compact(text))
