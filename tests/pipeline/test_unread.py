from __future__ import annotations

import pytest

pytest.importorskip("spacy")

from spacy_padellm.decode.cost import DecodingCost
from spacy_padellm.pipeline.unread import unread_logged


@pytest.mark.parametrize(
    "after, logged",
    [
        ((3, 5), []),
        ((4, 5), ["1 stretches", "0 of its mentions"]),
        ((3, 7), ["0 stretches", "2 of its mentions"]),
        # A new model counts anew.
        ((0, 0), []),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_what_came_within_is_logged(
    after: tuple[int, int], logged: list[str], fails: bool, caplog: pytest.LogCaptureFixture
):
    costs = [DecodingCost(malformed=3, ungrounded=5)]
    try:
        with unread_logged("reader", lambda: costs[-1]):
            malformed, ungrounded = after
            costs.append(DecodingCost(malformed=malformed, ungrounded=ungrounded))
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert len(caplog.messages) == bool(logged)
    for message in caplog.messages:
        assert message.startswith("reader: ") and all(part in message for part in logged)
