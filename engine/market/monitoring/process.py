"""CPU and memory of the process that runs a feed."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """CPU seconds since the process began, the share of one core since the last look, resident bytes, threads."""

    cpu_s: float
    cpu_share: float
    memory_bytes: int
    threads: int


class ProcessWatch:
    """Reads the figures of this process; the first share is that since the process began its watch."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()

    def read(self) -> ProcessFigures:
        """The figures now."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            return ProcessFigures(
                cpu_s=times.user + times.system,
                cpu_share=self._process.cpu_percent() / 100,
                memory_bytes=self._process.memory_info().rss,
                threads=self._process.num_threads(),
            )
