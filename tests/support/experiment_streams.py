"""Streams of signals with outcomes, and arms on them, from a seed: what evaluations and reports are tested on."""

from dataclasses import replace

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.verdicts import DecidedBy, Reason, Verdict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.results import FILLS, ArmResult, Kind, SignalStream

START_US = 1_740_355_200 * 1_000_000  # 2025-02-24T00:00:00Z
HOUR_US = 3_600 * 1_000_000
COST_BPS = 6.0
POLICY = Policy(fee_bps=COST_BPS / 2, side="long-short")
CASH = 10_000.0


def outcomes(draws: np.random.Generator, n: int, *, phi: float = 0.3, scale_bps: float = 30.0) -> np.ndarray:
    """Moves in bp that follow their neighbours, calm and wild in turns."""
    noise = draws.standard_normal(n)
    moves, variance, move = np.empty(n), 1.0, 0.0
    for t in range(n):
        shock = np.sqrt(variance) * noise[t]
        variance = 0.05 + 0.1 * shock**2 + 0.85 * variance
        move = phi * move + shock
        moves[t] = scale_bps * move
    return moves


def gathered(
    draws: np.random.Generator, n: int, *, rate: float = 0.2, stay: float = 0.9, warm_up: int = 0
) -> np.ndarray:
    """True in clusters of 1 / (1 - stay) rows on average, never in the warm-up."""
    leave, enter = 1.0 - stay, (1.0 - stay) * rate / (1.0 - rate)
    flags, on = np.zeros(n, bool), False
    for t, u in enumerate(draws.random(n)):
        on = u > leave if on else u < enter
        flags[t] = on
    flags[:warm_up] = False
    return flags


def net_of(side: np.ndarray, moves: np.ndarray, cost_bps: float = COST_BPS) -> tuple[np.ndarray, np.ndarray]:
    """(gross_bps, net_bps) by verdict; a trade costs the same whichever side it is on."""
    gross = np.stack([side * moves, -side * moves, np.zeros(len(moves))], axis=1)
    return gross, gross - np.array([cost_bps, cost_bps, 0.0])


def a_stream(n: int = 600, *, seed: int = 1, symbols: tuple[str, ...] = ("BTC", "ETH")) -> SignalStream:
    """n signals of several symbols, one each an instant; every tenth a HOLD, the last few not yet judged."""
    draws = np.random.default_rng([seed, 1])
    symbol = (np.arange(n) % len(symbols)).astype(np.int32)
    moves = outcomes(draws, n)
    action = np.where(gathered(draws, n, rate=0.5), 1, -1).astype(np.int8)
    action[::10] = 0
    judged = (action != 0) & (np.arange(n) < n - 24)
    gross, net = net_of(action, moves)
    gross[~judged], net[~judged] = np.nan, np.nan
    at = START_US + (np.arange(n) // len(symbols)) * HOUR_US
    moods = CategoryColumn(draws.integers(-1, 3, n).astype(np.int32), ("CALM", "FEAR", "GREED"))
    return SignalStream(
        signal_id=[f"id-{index}" for index in range(n)],
        timestamp_us=at.astype(np.int64),
        symbol=symbol,
        symbols=symbols,
        source=draws.integers(0, 2, n).astype(np.int32),
        sources=("desk", "model"),
        action=action,
        price=100.0 * np.exp(np.cumsum(moves) / 1e5),
        regime=CategoryColumn(draws.integers(0, 2, n).astype(np.int32), ("trend", "range")),
        category={"mood": moods},
        net_bps=net,
        gross_bps=gross,
        right=judged & (gross[:, Verdict.APPROVE] > 0.0),
        judged=judged,
        known_at_us=(at + 6 * HOUR_US).astype(np.int64),
        horizon="6b",
        policy=POLICY,
    )


def an_arm(
    stream: SignalStream,
    name: str,
    kind: Kind,
    verdict: np.ndarray | None = None,
    *,
    seed: int = 1,
    **changes: object,
) -> ArmResult:
    """An arm with these verdicts (approving, if none are given), its portfolios compounded from the outcomes."""
    n = len(stream)
    draws = np.random.default_rng([seed, 2])
    verdict = np.zeros(n, np.int8) if verdict is None else verdict.astype(np.int8)
    verdict = np.where(stream.action == 0, Verdict.APPROVE, verdict).astype(np.int8)
    overruled = verdict != Verdict.APPROVE
    reason = np.where(overruled, Reason.EVIDENCE_AGAINST, Reason.TOO_LITTLE_EVIDENCE)
    reason = np.where(stream.action == 0, Reason.HOLD_SIGNAL, reason)
    made = np.nan_to_num(stream.net_bps[np.arange(n), verdict]) / 1e4 / 10
    returns = {fill: made - 2e-6 * place for place, fill in enumerate(FILLS)}
    equity = {fill: CASH * np.cumprod(1.0 + own) for fill, own in returns.items()}
    p_right = np.where(draws.random(n) < 0.7, np.clip(0.5 + 0.1 * draws.standard_normal(n), 0.0, 1.0), np.nan)
    arm = ArmResult(
        name=name,
        kind=kind,
        verdict=verdict,
        by=np.where(overruled, DecidedBy.GATE, DecidedBy.SIGNAL).astype(np.int8),
        reason=[str(one) for one in reason],
        p_right=np.full(n, np.nan) if kind == "baseline" else p_right,
        equity=equity,
        signal_return=returns,
        performance={
            fill: {
                "initial_cash": CASH,
                "total_return": float(own[-1] / CASH - 1.0),
                "sharpe": 0.5,
                "max_drawdown": float((1.0 - own / np.maximum.accumulate(np.maximum(own, CASH))).max()),
                "trades": int((stream.action != 0).sum()),
                "fees": 12.5,
            }
            for fill, own in equity.items()
        },
    )
    return replace(arm, **changes)  # type: ignore[arg-type]


def some_arms(stream: SignalStream, *, seed: int = 1) -> list[ArmResult]:
    """Baseline, memory (without skill), model (with some), random, and the canary, which looks ahead."""
    n, draws = len(stream), np.random.default_rng([seed, 3])
    gross = np.nan_to_num(stream.gross_bps[:, Verdict.APPROVE])
    blind = gathered(draws, n, warm_up=n // 6)
    skilled = blind & (draws.random(n) < np.where(gross < 0.0, 0.95, 0.3))
    kinds = np.where(draws.random(n) < 0.3, Verdict.FLIP, Verdict.HOLD)
    asked = draws.random(n) < 0.2
    reason = np.where(
        asked, draws.choice([Reason.MODEL_ANSWERED, Reason.MODEL_TIMEOUT], n), Reason.EVIDENCE_FOR
    )
    return [
        an_arm(stream, "baseline", "baseline", seed=seed),
        an_arm(stream, "memory", "memory", np.where(blind, kinds, 0), seed=seed),
        an_arm(
            stream,
            "memory + Gemini",
            "model",
            np.where(skilled, kinds, 0),
            seed=seed,
            by=np.where(asked, DecidedBy.MODEL, DecidedBy.GATE).astype(np.int8),
            reason=[str(one) for one in reason],
            model_usd=0.0412,
            model_calls=int(asked.sum()),
            model_tokens=(61_200, 4_310),
        ),
        an_arm(stream, "random", "control", np.where(draws.random(n) < 0.15, kinds, 0), seed=seed),
        an_arm(stream, "canary", "control", np.where(gross < 0.0, Verdict.FLIP, 0), seed=seed),
    ]
