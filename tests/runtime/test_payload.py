"""Answers as bytes: exact with 32 bits, the levels of `quantised` with fewer, the largest weights first."""

import jax
import numpy as np
import pytest
from runtime.fused_team import AGENTS, LAYOUT, STATE, dense_answers, sparse_answers, team_model

from composite_flow.errors import InputError
from composite_flow.fusion.compression import quantised
from composite_flow.runtime.conversion import as_sent
from composite_flow.runtime.identity import sent_shapes
from composite_flow.runtime.message import RefusedMessage
from composite_flow.runtime.payload import BITS, decode, encode, payload_bytes


@pytest.fixture(params=[dense_answers, sparse_answers], ids=["dense", "sparse"])
def answered(request, key):
    """The answers of a team, and the shapes in which they are sent."""
    model = team_model(key, request.param(key))
    histories = jax.random.uniform(key, (AGENTS, LAYOUT.size)).at[:, -AGENTS:].set(np.eye(AGENTS))
    histories = histories.at[:, -AGENTS - 1].set(1.0)
    answers = model.fusion.answers
    said = [jax.device_get(answers.sent(answers.condition(history))) for history in histories]
    return said, sent_shapes(model)


UNLIKE = np.array([0.0, 1.7, 3e38], np.float32)


def as_said(answer):
    return as_sent(answer, UNLIKE)


@pytest.mark.parametrize("bits", BITS)
def test_an_answer_comes_back_as_its_bits_can_hold_it(answered, bits):
    for answer, shape in zip(*answered, strict=True):
        sent = as_said(answer)
        data = encode(sent, shape, bits)
        assert len(data) == payload_bytes(shape, bits)
        found = decode(data, shape, bits)
        np.testing.assert_array_equal(found.unlike, UNLIKE)  # whatever the bits
        if bits == 32:
            for part, same in zip(found, sent, strict=True):
                np.testing.assert_array_equal(part, same)
            continue
        if len(shape.is_number) == STATE:  # those of few features are rounded alike, and have no function of their own
            expected = as_sent(quantised(answer, bits))
            for part, same in zip(found[:4], expected[:4], strict=True):
                np.testing.assert_allclose(part, same, rtol=1e-4, atol=1e-5)
        step = 2.0 ** (1 - bits)
        np.testing.assert_allclose(found.rest, sent.rest, atol=step * np.abs(sent.rest).max() + 1e-6)
        np.testing.assert_allclose(np.log(found.weight + 1e-9), np.log(sent.weight + 1e-9), atol=24 * step)


@pytest.mark.parametrize("bits", BITS)
def test_the_largest_weights_are_sent_first(answered, bits):
    for answer, shape in zip(*answered, strict=True):
        sent = as_said(answer)
        least = payload_bytes(shape, bits, np.zeros(len(shape.is_number), bool))
        size = np.where(shape.is_number, sent.weight / shape.unit, np.abs(sent.evidence))
        kept_before = 0
        dearest = bits // 8 * (3 if shape.is_number.any() else 1)
        for most in range(least + dearest, payload_bytes(shape, bits) + 1):
            data = encode(sent, shape, bits, most)
            assert len(data) <= most
            kept = decode(data, shape, bits)
            said = (kept.evidence != 0) | (kept.weight != 0)
            assert said.sum() >= kept_before
            kept_before = int(said.sum())
            if not said.all() and said.any():
                assert size[said].min() >= size[~said].max() * (1 - 1e-6)
        if least + dearest <= payload_bytes(shape, bits):
            assert kept_before == np.sum((sent.evidence != 0) | (sent.weight != 0))
        with pytest.raises(InputError, match="Not one entry"):
            encode(sent, shape, bits, least)


def test_what_is_no_answer_is_refused(answered):
    answer, shape = answered[0][0], answered[1][0]
    for bits in BITS:
        data = encode(as_said(answer), shape, bits)
        for broken in (b"", data[:-1], data + b"\x00", b"\x07" + data[1:], b"\x01" + data[1:]):
            with pytest.raises(RefusedMessage, match="no answer"):
                decode(broken, shape, bits)
    nan = encode(as_said(answer)._replace(evidence=np.full(len(shape.is_number), np.nan, np.float32)), shape)
    with pytest.raises(RefusedMessage, match="no answer"):
        decode(nan, shape, 32)
    with pytest.raises(RefusedMessage, match="no answer"):
        decode(encode(as_said(answer), shape, 8)[:5] + b"\xff" * (payload_bytes(shape, 8) - 5), shape, 8)
    data = encode(as_said(answer), shape)
    with pytest.raises(RefusedMessage, match="no answer"):  # of an agent that says how unlike it is with infinity
        decode(data[:-4] + np.array([np.inf], "<f4").tobytes(), shape, 32)
    with pytest.raises(InputError, match="not with 12"):
        encode(as_said(answer), shape, 12)
