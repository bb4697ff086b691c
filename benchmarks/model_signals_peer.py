"""What generated signals are measured against: one uvicorn process, FastAPI, pydantic and ONNX Runtime, in memory.

It reads the same body, steps the same model with a state a symbol, answers with the same members, and sends them to
whoever listens. Nothing is on record, nothing is idempotent, nothing is traded.

    python -m benchmarks.model_signals_peer PORT FOLDER
"""

import json
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field

from benchmarks.lstm_model import HIDDEN
from benchmarks.model_signals import FEATURES

_ACTIONS = ("HOLD", "BUY", "SELL")


class AskedIn(BaseModel):
    """The body."""

    symbol: str = Field(min_length=1, max_length=64)
    timestamp: datetime
    close_price: float = Field(gt=0, allow_inf_nan=False)
    rsi: float = Field(ge=0, le=100, allow_inf_nan=False)
    macd: float = Field(allow_inf_nan=False)
    macd_signal: float = Field(allow_inf_nan=False)
    atr: float = Field(ge=0, allow_inf_nan=False)


class GeneratedOut(BaseModel):
    """The answer."""

    signal_id: str
    timestamp: datetime
    symbol: str
    action: str
    confidence: float
    entry_price: float
    stop_loss: float | None
    take_profit: float | None
    position_size: float
    risk_reward_ratio: float | None
    model_version: str
    reasoning: list[str]
    latency_ms: float


def peer(folder: str) -> FastAPI:
    """The application."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (Path(folder) / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    states: dict[str, tuple[Any, Any]] = {}
    nothing = np.zeros((1, 1, HIDDEN), np.float32)
    app = FastAPI()
    listeners: set[WebSocket] = set()

    @app.websocket("/ws/signals")
    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        listeners.add(socket)
        with suppress(WebSocketDisconnect):
            await socket.receive_text()
        listeners.discard(socket)

    @app.post("/api/signals/generate")
    async def generate(asked: AskedIn) -> GeneratedOut:
        began = time.perf_counter()
        features = np.array([[getattr(asked, name.partition("(")[0]) for name in FEATURES]], np.float32)
        h, c = states.get(asked.symbol, (nothing, nothing))
        probabilities, h, c = session.run(
            ["probabilities", "h_out", "c_out"], {"features": features, "h": h, "c": c}
        )
        states[asked.symbol] = h, c
        best = int(probabilities[0].argmax())
        confidence, side = float(probabilities[0][best]), (0, 1, -1)[best]
        price = asked.close_price
        made = GeneratedOut(
            signal_id=f"{asked.symbol}:{asked.timestamp.isoformat()}", timestamp=asked.timestamp, symbol=asked.symbol,
            action=_ACTIONS[best], confidence=confidence, entry_price=price,
            stop_loss=price - side * 2 * asked.atr if side else None,
            take_profit=price + side * 3 * asked.atr if side else None, position_size=0.02 if side else 0.0,
            risk_reward_ratio=1.5 if side else None, model_version="lstm 1",
            reasoning=[f"The model gives {_ACTIONS[best]} {confidence:.2f}.", f"RSI is {asked.rsi:.1f}."],
            latency_ms=(time.perf_counter() - began) * 1e3,
        )  # fmt: skip
        text = json.dumps({"type": "signal", **made.model_dump(mode="json")})
        for socket in listeners:
            await socket.send_text(text)
        return made

    return app


if __name__ == "__main__":
    uvicorn.run(
        peer(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False
    )
