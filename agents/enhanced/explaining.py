"""What a decision rests on, as JSON that lies in the journal beside it."""

from typing import Any

import numpy as np
import orjson

from agents.adviser import Opinion
from agents.briefing import brief_of
from agents.briefs import Precedent
from agents.deciding import Begun, Decider, Judged
from agents.gate import REASONS
from agents.verdicts import By, Verdict, decided
from engine.columns import TextColumn
from engine.decisions import Decisions

DECIDERS = tuple(by.name.lower() for by in By)
_WORDS = tuple(verdict.name.lower() for verdict in Verdict)


def decisions_of(decider: Decider, begun: Begun, judged: Judged) -> Decisions:
    """The decisions as the portfolio takes them in, each with its explanation."""
    texts = [
        orjson.dumps(explanation(decider, begun, judged, row)).decode() for row in range(len(begun.batch))
    ]
    return Decisions(decided(begun.batch.action, judged.verdict), judged.by, DECIDERS, TextColumn.of(texts))


def explanation(decider: Decider, begun: Begun, judged: Judged, row: int) -> dict[str, Any]:
    """Why one signal was decided as it was: a HOLD by itself, others by what the memory told of them.

    Returns:
        `verdict`, `by`, `reason`, and for a BUY or SELL `inputs` (standardised numbers and categories as they
        were compared), `statistics` (None where there was no evidence), `neighbours` (the nearest past signals
        with their outcomes), `allowed` (what a model could have answered), and the model's `opinion` if one was
        asked.
    """
    told: dict[str, Any] = {
        "verdict": _WORDS[judged.verdict[row]],
        "by": DECIDERS[judged.by[row]],
        "reason": REASONS[judged.reason[row]].value,
    }
    if begun.batch.action[row] == 0:
        return told
    brief = brief_of(decider.agent, begun.batch, begun.taken, row, decider.ids)
    told |= {
        "inputs": {"numbers": brief.numbers, "categories": brief.categories},
        "statistics": {
            name: value if np.isfinite(value) else None for name, value in brief.statistics.items()
        },
        "neighbours": [_neighbour(precedent) for precedent in brief.precedents],
        "allowed": [_WORDS[verdict] for verdict in brief.allowed],
    }
    if (opinion := judged.opinions.get(row)) is not None:
        told["opinion"] = _opinion(opinion)
    return told


def _neighbour(precedent: Precedent) -> dict[str, Any]:
    return {
        "signal_id": precedent.id,
        "signal": "BUY" if precedent.action > 0 else "SELL",
        "right": precedent.right,
        "net_bps": dict(zip(_WORDS, precedent.net_bps, strict=True)),
        "age_s": precedent.age_s,
        "distance": precedent.distance,
    }


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
