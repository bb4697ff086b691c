"""`raysignal parity`: a recorded session is played again, and held against itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape

DIFFERS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityConfig:
    """Which session."""

    session: Annotated[Path, typer.Argument(metavar="FOLDER", help="What --record made.")]
    json: options.Json = False


def parity(config: ParityConfig) -> None:
    """Play a recorded session again and hold every event against it, byte for byte.

    Status 0: all are the same; 1: the first that differs is shown.
    """
    from raysignal.runtime.pipeline_session import replay_session

    output = Output(config.json)
    check = replay_session(config.session)
    found = check.difference
    if config.json:
        output.json(
            {
                "events": check.events, "whole": check.whole,
                "difference": None if found is None else {
                    "number": found.number, "frame": found.after, "recorded": repr(found.recorded),
                    "replayed": repr(found.replayed),
                },
            }
        )  # fmt: skip
    elif found is None:
        output.say(f"the same: {check.events:,d} events, byte for byte")
        if not check.whole:
            output.say(
                "note: the session has no end: its last run was killed, goes on still, or was cut off here"
            )
    else:
        output.say(f"event {found.number:,d}, after frame {found.after:,d}, differs")
        output.say(f"recorded  {escape(repr(found.recorded))}")
        output.say(f"replayed  {escape(repr(found.replayed))}")
    if found is not None:
        raise typer.Exit(DIFFERS)
