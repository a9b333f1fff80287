"""Whose messages are believed, how far they may overtake each other, and which losses a seed stands for."""

import numpy as np
import pytest

from composite_flow.runtime.ledger import WINDOW, Ledger
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.message import ANSWER, Message, RefusedMessage, digest, pack, unpack

TEAM, MODEL = digest("team"), digest("model")


def message(sequence, **changes):
    told = {"kind": ANSWER, "bits": 32, "team": TEAM, "checksum": MODEL, "sender": 1, "nonce": 7, "step": 3}
    return Message(**{**told, "sequence": sequence, "payload": b"", **changes})


@pytest.fixture
def ledger():
    ledger = Ledger(TEAM, MODEL, own=0, num_agents=3)
    ledger.introduce(1, 7)
    return ledger


def test_messages_may_overtake_each_other_and_each_counts_once(ledger):
    order = np.random.default_rng(0).permutation(WINDOW)
    for sequence in order.tolist():
        ledger.accept(message(sequence))
    for sequence in order.tolist():
        with pytest.raises(RefusedMessage, match="heard before"):
            ledger.accept(message(sequence))
    ledger.accept(message(10_000))
    with pytest.raises(RefusedMessage, match="heard before"):
        ledger.accept(message(10_000 - WINDOW))  # too old to know whether it was heard
    ledger.accept(message(10_000 - WINDOW + 1))


def test_what_is_remembered_of_a_sender_is_bounded(ledger):
    for sequence in range(5_000):
        ledger.accept(message(sequence))
    assert len(ledger._seen[1]) <= 2 * WINDOW + 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"team": digest("other")}, "of another team"),
        ({"checksum": digest("other")}, "of another model"),
        ({"sender": 0}, "of no other agent"),
        ({"sender": 3}, "of no other agent"),
        ({"sender": 2}, "not introduced"),
        ({"nonce": 8}, "not introduced"),
    ],
)
def test_what_does_not_fit_is_not_believed(ledger, changes, reason):
    with pytest.raises(RefusedMessage, match=reason):
        ledger.accept(message(0, **changes))
    ledger.accept(message(0))


def test_a_new_start_begins_anew_and_the_old_one_is_over(ledger):
    ledger.accept(message(5))
    ledger.introduce(1, 8)
    with pytest.raises(RefusedMessage, match="not introduced"):
        ledger.accept(message(6))
    ledger.accept(message(5, nonce=8))


def test_messages_come_back_from_their_bytes():
    sent = message(12, payload=b"abc", nonce=2**64 - 1, step=-1)
    key = b"0123456789abcdef"
    assert unpack(pack(sent)) == sent and unpack(pack(sent, key), key) == sent
    with pytest.raises(RefusedMessage):  # shorter than a signed one can be, or not signed with the key
        unpack(pack(sent), key)
    with pytest.raises(RefusedMessage, match="unsigned or altered"):
        unpack(pack(sent, key), b"another key of 16")


def test_a_seed_stands_for_the_same_losses_and_shares_are_kept():
    loss = Loss(0.3, 0.2, seed=4)
    fates = [loss.fate(sender, listener, step) for sender in range(5) for listener in range(5) for step in range(200)]
    assert fates == [Loss(0.3, 0.2, 4).fate(i, j, k) for i in range(5) for j in range(5) for k in range(200)]
    lost = np.mean([fate is None for fate in fates])
    assert 0.27 < lost < 0.33 and loss.fate(0, 1, 2) != Loss(0.3, 0.2, 5).fate(0, 1, 2)
    delays = [fate for fate in fates if fate is not None]
    assert 0.0 <= min(delays) and max(delays) <= 0.2 and 0.09 < np.mean(delays) < 0.11
