"""The same bytes on eight workers and on two, on a Ray of the sweep's own, with a worker killed on the way."""

import os
import signal

import pytest

from raysignal.experiments.sweeps.pace import SweepSpeed
from raysignal.experiments.sweeps.running import run_sweep
from tests.e2e.test_cli_sweep import MARKETS, RUN, SMALL, SPEC, results, workers_of_this_process
from tests.support.folder_blobs import FolderBlobs

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]


def test_one_two_and_eight_workers_make_the_same_bytes(tmp_path):
    found = {}
    for workers in (1, 2, 8):
        killed = []

        def progress(done, whole, killed=killed, workers=workers):
            if 0 < done < whole and not killed and workers > 1:
                victim = workers_of_this_process()[0]
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)

        folder = tmp_path / str(workers)
        pace = SMALL if workers > 1 else SweepSpeed(1e-9)
        run_sweep(
            MARKETS, SPEC, FolderBlobs(folder), run_id=RUN, workers=workers, pace=pace, progress=progress
        )
        assert len(killed) == (workers > 1)
        found[workers] = results(folder)
    assert found[1] == found[2] == found[8]
