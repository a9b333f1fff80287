"""Header and arrays come back from a page's text as they went in."""

import numpy as np
import pytest

from composite_flow.page.container import TYPES, packed, unpacked


def test_all_types_of_arrays_come_back():
    arrays = {name: np.arange(5 * 3, dtype=name).reshape(5, 3) for name in TYPES}
    header, found = unpacked(packed({"title": "é", "lengths": [5]}, arrays))
    assert header == {"title": "é", "lengths": [5]}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_same_contents_are_the_same_text():
    assert packed({"a": 1}, {"b": np.zeros(2)}) == packed({"a": 1}, {"b": np.zeros(2)})


def test_other_types_and_numbers_that_json_lacks_are_refused():
    with pytest.raises(TypeError, match="int64"):
        packed({}, {"a": np.zeros(2, np.int64)})
    with pytest.raises(ValueError, match="JSON compliant"):
        packed({"a": float("nan")}, {})
