"""What a decision rests on, as JSON that lies in the journal beside it."""

from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

import orjson

from raysignal.agents.llm.adviser import Opinion
from raysignal.agents.override.decider import DecidedSignals, Decider, PendingDecision
from raysignal.agents.override.gate import REASONS
from raysignal.agents.override.precedents import PrecedentTable, shown_of
from raysignal.agents.override.prompt_contexts import standardised, statistics_of
from raysignal.agents.verdicts import DecidedBy, Verdict, decided
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.portfolio.decisions import Decisions

DECIDERS = tuple(by.name.lower() for by in DecidedBy)
_WORDS = tuple(verdict.name.lower() for verdict in Verdict)


def decisions_of(decider: Decider, begun: PendingDecision, judged: DecidedSignals) -> Decisions:
    """The decisions as the portfolio takes them in, each with its explanation."""
    texts = [orjson.dumps(told).decode() for told in explanations(decider, begun, judged)]
    return Decisions(decided(begun.batch.action, judged.verdict), judged.by, DECIDERS, TextColumn.of(texts))


def explanations(
    decider: Decider, begun: PendingDecision, judged: DecidedSignals
) -> Iterator[dict[str, Any]]:
    """Why each signal was decided as it was: a HOLD by itself, others by what the memory told of them.

    Yields:
        `verdict`, `by`, `reason`, and for a BUY or SELL `inputs` (standardised numbers and categories as they
        were compared), `statistics` (None where there was no evidence), `neighbours` (the nearest past signals
        with their outcomes), `allowed` (what a model could have answered), and the model's `opinion` if one was
        asked.
    """
    taken = begun.taken
    statistics = {name: values.tolist() for name, values in statistics_of(taken).items()}
    neighbours = _neighbours(decider, shown_of(decider.agent, taken))
    columns = (begun.batch.side, judged.verdict, judged.by, judged.reason)
    for row, (action, verdict, by, reason) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        told = {"verdict": _WORDS[verdict], "by": DECIDERS[by], "reason": REASONS[reason].value}
        if action:
            told |= {
                "inputs": {
                    "numbers": standardised(taken.situations, row),
                    "categories": decider.agent.encoder.describe(taken.situations, row),
                },
                "statistics": {
                    name: value if isfinite(value := values[row]) else None
                    for name, values in statistics.items()
                },
                "neighbours": neighbours[row],
                "allowed": [_WORDS[verdict] for verdict in taken.questions.allowed(row)],
            }
            if (opinion := judged.opinions.get(row)) is not None:
                told["opinion"] = _opinion(opinion)
        yield told


def _neighbours(decider: Decider, shown: PrecedentTable) -> list[list[dict[str, Any]]]:
    """The precedents of each row, told from whole columns: numpy is slow for one value."""
    columns = (shown.ordinal, shown.side, shown.right, shown.net_bps, shown.age_s, shown.distance)
    ids = decider.ids
    return [
        [
            {
                "signal_id": ids[ordinal],
                "signal": "BUY" if side > 0 else "SELL",
                "right": right,
                "net_bps": dict(zip(_WORDS, net, strict=True)),
                "age_s": age_s,
                "distance": distance,
            }
            for ordinal, side, right, net, age_s, distance in islice(zip(*row, strict=True), count)
        ]
        for count, *row in zip(shown.count.tolist(), *(column.tolist() for column in columns), strict=True)
    ]


def _opinion(opinion: Opinion) -> dict[str, Any]:
    return {
        "verdict": _WORDS[opinion.verdict],
        "reason": opinion.reason.value,
        "confidence": opinion.confidence,
        "cited": list(opinion.cited),
        "rationale": opinion.rationale,
        "request_hash": opinion.request_hash,
        "usd": opinion.usd,
        "tokens_in": opinion.tokens_in,
        "tokens_out": opinion.tokens_out,
    }
