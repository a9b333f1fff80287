"""Whether something was made for this problem: two descriptions of problems, compared in words."""

from typing import Any

from composite_flow.errors import MismatchError
from composite_flow.files.plain_json import describe_differences
from composite_flow.problems.kinds import in_words


def check_same_description(trained_on: dict[str, Any], given: dict[str, Any], what: str, advice: str) -> None:
    """Refuse a problem that is not the one of training, another version of its library included.

    Args:
        trained_on, given: descriptions of problems, as JSON holds them.
        what: is wrong where they differ; the start of the sentence.
        advice: what to do then; its end.

    Raises:
        MismatchError: they differ; it says in what, with both values.
    """
    told = in_words(trained_on, describe_differences(trained_on, given))
    if told:
        raise MismatchError(f"{what}: they differ in {told}; {advice}.")
