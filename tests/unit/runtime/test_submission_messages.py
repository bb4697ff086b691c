"""Submissions and their answers come through a message as they were."""

import msgspec
import numpy as np
import pytest

from raysignal.engine.core.errors import IdentityConflict, InvalidField, LateSignal, RaysignalError, RowErrors
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.receipts import PortfolioStatus, Submission
from raysignal.runtime.direct import decode_answer, decode_request, encode_answer, encode_request


@pytest.mark.parametrize("positions", [None, np.array([3, 1], dtype=np.int64)])
def test_a_request_comes_through_as_it_was(positions):
    options = {
        "all_or_nothing": True, "accept_price_jump": False, "receipts": True, "positions": positions,
        "decisions": None if positions is None else b"\0d",
    }  # fmt: skip
    request = decode_request(encode_request("007", b"\xffbatch", **options))
    assert (request.portfolio, request.encoded) == ("007", b"\xffbatch")
    found = request.options()
    if positions is not None:
        assert found.pop("positions").tolist() == options.pop("positions").tolist()
    assert found == options


def submission(n, *, receipts):
    rows = LedgerRows.empty(n)
    rows.equity[:] = np.arange(n) + 0.1
    rows.outcome[:] = 1
    account = np.linspace(-1.0, np.nan, ACCOUNT_SIZE)
    return Submission(
        taken=np.array([0, 2][:n], np.int8),
        ordinal=np.array([5, -1][:n], np.int64),
        errors={1: LateSignal("BTC", "then", "now", row=1)} if n > 1 else {},
        standing=PortfolioStatus("2024", Policy(fee_bps=4.0, side="long-short"), ("BTC", "日経"), 6, 1_700, 9, account),
        rows=rows if receipts else None,
        accounts=np.tile(account, (n, 1)) if receipts else None,
    )  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("receipts", [False, True])
def test_an_answer_comes_through_as_it_was(n, receipts):
    sent = submission(n, receipts=receipts)
    found = decode_answer(encode_answer(sent))
    assert isinstance(found, Submission)
    assert found.taken.tobytes() == sent.taken.tobytes()
    assert found.ordinal.tobytes() == sent.ordinal.tobytes()
    assert {place: (type(each), str(each), each.fields) for place, each in found.errors.items()} == {
        place: (type(each), str(each), each.fields) for place, each in sent.errors.items()
    }
    before, after = (
        (
            each.portfolio,
            each.policy,
            each.symbols,
            each.count,
            each.last_us,
            each.sequence,
            each.account.tobytes(),
        )
        for each in (sent.standing, found.standing)
    )
    assert after == before
    if receipts:
        assert found.rows.to_bytes() == sent.rows.to_bytes()
        assert found.accounts.shape == sent.accounts.shape
        assert found.accounts.tobytes() == sent.accounts.tobytes()
    else:
        assert (found.rows, found.accounts) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        IdentityConflict("an-id"),
        InvalidField("price", np.float64(-1.0), "above 0", row=2),
        RowErrors([InvalidField("price", -1, "above 0", row=np.int64(2))], 3),
    ],
)
def test_an_error_is_of_the_same_class_with_the_same_sentence_and_fields(error):
    found = decode_answer(encode_answer(error))
    assert (type(found), str(found), found.fields) == (type(error), str(error), error.fields)


def test_an_unknown_class_is_an_error_of_the_project_and_nothing_is_looked_up_elsewhere():
    message = encode_answer(RaysignalError("a sentence", place=1)).replace(
        b"RaysignalError", b"NotImplemented"
    )
    assert type(decode_answer(message.replace(b"NotImplemented", b"Sequence______"))) is RaysignalError


@pytest.mark.parametrize("message", [b"", b"\x80", b"\x80\x04\x95\x05", b"\x93\x01\x02\x03"])
def test_anything_else_is_refused(message):
    with pytest.raises(msgspec.MsgspecError):
        decode_answer(message)
    with pytest.raises(msgspec.MsgspecError):
        decode_request(message)
