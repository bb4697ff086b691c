"""A connection's conduct, message by message, on times that are handed in."""

from random import Random

import pytest

from raysignal.engine.core.market_events import Channel, Event
from raysignal.engine.market.conversation import ConnectionTimeouts, Conversation
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.venues.protocol import Subscription
from tests.support.market_speech import CLOSES, SPEECHES, Step, market


class Talk:
    """A conversation with a venue about one book that is whole."""

    def __init__(self, venue: str) -> None:
        self.speech = SPEECHES[venue]()
        self.events: list[Event] = []
        self.observed = FeedMetrics()
        wanted = Subscription(self.speech.instrument, frozenset({Channel.DEPTH}))
        (opening,) = self.speech.venue.openings([wanted])
        self.conversation = Conversation(
            self.speech.venue, opening, self.events.extend, terms=ConnectionTimeouts(), observed=self.observed,
            random=Random(1), now_s=0.0,
        )  # fmt: skip
        self.steps: list[Step] = list(market(self.speech, 1, 400))
        self.conversation.opened(0.0)
        if self.speech.by_request:
            self.hear(self.steps[1].raw, 0.1)
            (_, ((_, instrument, _),)) = self.conversation.wants()
            (body,) = self.speech.snapshot(self.steps[1])
            self.conversation.answered(instrument, body, 0, 0.1)
        else:
            for raw in self.speech.snapshot(self.steps[1]):
                self.hear(raw, 0.1)
        self.number = 1

    def hear(self, raw: bytes, now_s: float) -> None:
        self.conversation.received(raw, int(now_s * 1e9), now_s)

    def go_on(self, from_s: float, to_s: float) -> None:
        """A change each tenth of a second."""
        for tenth in range(round(10 * from_s) + 1, round(10 * to_s) + 1):
            self.number += 1
            self.hear(self.steps[self.number].raw, tenth / 10)


@pytest.mark.parametrize("venue", sorted(CLOSES))
def test_a_connection_whose_end_is_announced_is_opened_anew_before_it_comes(venue: str) -> None:
    talk = Talk(venue)
    conversation = talk.conversation
    talk.go_on(0.1, 1.0)
    talk.hear(CLOSES[venue], 1.0)
    assert conversation.over(1.0) is None
    talk.go_on(1.0, 6.0)
    assert conversation.missing(6.0) == ""  # and until then it is as good as ever
    assert conversation.over(6.0) is None
    talk.go_on(6.0, 35.0)
    over_s = next(second / 10 for second in range(60, 700) if conversation.over(second / 10) == "renewal")
    assert over_s <= 61.0
    assert talk.observed.renewals == 1
    conversation.closed(0, 61.0)
    conversation.opened(62.0)
    assert conversation.over(62.0) is None  # the new one was told nothing


@pytest.mark.parametrize("venue", ["binance", "okx"])
def test_a_connection_that_freezes_is_not_ready_after_some_seconds_and_given_up_after_twenty(
    venue: str,
) -> None:
    talk = Talk(venue)
    conversation = talk.conversation
    talk.go_on(0.1, 10.0)
    conversation.ping.due(9.9)
    conversation.ponged(9.9)
    assert conversation.missing(14.9) == ""
    assert conversation.missing(16.0) == f"stands still: {talk.speech.symbol}"
    ends = [conversation.ping.due(second) or conversation.over(second) for second in range(11, 40)]
    assert "silence" in ends
    assert ends.index("silence") + 11 <= 31
