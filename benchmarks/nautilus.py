"""NautilusTrader as a peer: bars and actions in, the time that it takes out."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies.strategy import Bars

_NAUTILUS = Path("requirements/nautilus.lock")


def nautilus(bars: Bars, actions: Int8Array, cost: Policy) -> tuple[float, float] | None:
    """Seconds and equity of NautilusTrader told these actions; None where it cannot be installed.

    In an environment of its own, made where there is none.
    """
    python = Path(".venv-nautilus/bin/python")
    if not python.exists():
        if not _NAUTILUS.exists():
            return None
        made = [
            [sys.executable, "-m", "venv", str(python.parent.parent)],
            [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python),
             "--require-hashes", "-r", str(_NAUTILUS)],
        ]  # fmt: skip
        for command in made:
            if subprocess.run(command, check=False).returncode:
                return None
    with tempfile.TemporaryDirectory(prefix="raysignal-nautilus-") as folder:
        given = Path(folder) / "bars.npz"
        np.savez(given, stamps=bars.known_at_us, close=bars.close, actions=actions)
        script = Path(__file__).with_name("nautilus_run.py")
        done = subprocess.run(
            [str(python), str(script), str(given), str(cost.initial_cash), str(cost.fee_bps)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        print(done.stderr[-2_000:], file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return float(found["seconds"]), float(found["equity"])
