"""What two nested settings differ in, by hand."""

import pytest

from composite_flow.files.plain_json import describe_differences


@pytest.mark.parametrize(
    "first, second, told",
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a (1, not 2)"),
        ({"a": {"b": [1, {"c": "x"}]}}, {"a": {"b": [1, {"c": "y"}]}}, "a.b.1.c (x, not y)"),
        ({"a": 1}, {"b": 1}, "a (1, not –), b (–, not 1)"),
        ({"a": [1]}, {"a": [1, 2]}, "a ([1], not [1, 2])"),
        ({"a": "x" * 30}, {"a": 0}, f"a ({'x' * 20} …, not 0)"),
        (dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 1), "a (0, not 1), b (0, not 1), c (0, not 1), 2 more"),
    ],
)
def test_differences_are_told_with_their_paths(first, second, told):
    assert describe_differences(first, second) == told
