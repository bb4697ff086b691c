"""Steps of an LSTM in the actor of a service, beside a plain loop of ONNX Runtime: `python -m benchmarks.inference`.

The actor looks at every feature and every answer, keeps the state of each symbol, and has each step on record and in
the portfolio before it is answered; the loop calls the session. Inference is what the step itself takes in the actor.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.figures import Figure
from benchmarks.lstm_model import HIDDEN, write_lstm
from raysignal.agents.inference.strategy import ModelStrategy
from raysignal.agents.inference.values import ModelSignal, SignalRequest
from raysignal.data.bars import random_walk
from raysignal.runtime.local_cluster import local_ray
from raysignal.runtime.model_signals import ModelSignals
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

FEATURES = ("rsi(14)", "returns(1)", "zscore(20)", "macd(12, 26, 9)")
STEPS = 2_000
TOGETHER, ROUNDS = 64, 40
BARS = 20_000
MINUTE_US = 60_000_000
BEGIN_US = 1_700_000_000_000_000


def measure() -> list[Figure]:
    """The figures; both sides in one run."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_lstm(Path(folder) / "model", FEATURES)
        alone_ms, requests_s, said = asyncio.run(_in_actor(model, (Path(folder) / "store").as_uri()))
        plain_us = _plain(model / "model.onnx")
        strategy = ModelStrategy.of({"model": str(model)}, "1m", MINUTE_US)
        bars = random_walk(1, BARS, MINUTE_US)
        began = time.perf_counter()
        strategy.actions(bars)
        bars_s = BARS / (time.perf_counter() - began)
    return [
        Figure("inference", "LSTM step in the actor, p50", said["p50"], "ms", better="less"),
        Figure("inference", "LSTM step in the actor, p99", said["p99"], "ms", target=2.0, better="less"),
        Figure("inference", "plain ONNX Runtime, p50", float(np.median(plain_us)) / 1e3, "ms", better="less"),
        Figure("inference", "plain ONNX Runtime, p99", float(np.quantile(plain_us, 0.99)) / 1e3, "ms", better="less"),
        Figure("inference", "one signal on record and traded, p50", float(np.median(alone_ms)), "ms", better="less"),
        Figure("inference", f"signals, {TOGETHER} symbols a call", requests_s, "1/s"),
        Figure("inference", "bars through the strategy", bars_s, "bars/s"),
    ]  # fmt: skip


async def _in_actor(model: Path, store: str) -> tuple[list[float], float, dict[str, float]]:
    """Milliseconds of single requests, requests a second of many symbols, and the actor's own figures of steps."""
    with local_ray(cpus=2):
        settings = Settings(store=store, enhanced="", inference={"model": str(model)})
        portfolios, models = PortfolioClient.connect(settings), ModelSignals.connect(settings)
        alone_ms: list[float] = []
        for step in range(STEPS + 100):
            began = time.perf_counter()
            _check(await models.generate([_request("USDCOP", step)]))
            alone_ms.append((time.perf_counter() - began) * 1e3)
        said = (await models.statistics())["inference_ms"]
        began = time.perf_counter()
        for step in range(ROUNDS):
            _check(await models.generate([_request(f"S{place}", step) for place in range(TOGETHER)]))
        requests_s = TOGETHER * ROUNDS / (time.perf_counter() - began)
        await models.stop()
        await portfolios.close()
        return alone_ms[100:], requests_s, said


def _request(symbol: str, step: int) -> SignalRequest:
    numbers = {name: 10.0 + (step * 7 + place) % 50 for place, name in enumerate(FEATURES)}
    return SignalRequest(symbol, BEGIN_US + step * MINUTE_US, 100.0 + step % 3, numbers)


def _check(answers: list[Any]) -> None:
    for each in answers:
        if not isinstance(each, ModelSignal):
            raise each


def _plain(graph: Path) -> list[float]:
    """Microseconds of each step of a loop that does nothing else."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.read_bytes(), options)
    h, c = (np.zeros((1, 1, HIDDEN), np.float32) for _ in range(2))
    took_us: list[float] = []
    for step in range(STEPS):
        row = np.array([list(_request("", step).features.values())], np.float32)
        began = time.perf_counter_ns()
        _, h, c = session.run(["probabilities", "h_out", "c_out"], {"features": row, "h": h, "c": c})
        took_us.append((time.perf_counter_ns() - began) / 1e3)
    return took_us


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<52} {found.shown:>20} {found.asked}")
