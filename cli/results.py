"""A run of an experiment as it is shown: what came out, how it was made, where its files lie."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from raysignal.cli.output import Output, policy_sentence
from raysignal.cli.texts import escape
from raysignal.experiments.metrics import evaluation_of
from raysignal.experiments.result_files import (
    DECISIONS,
    EQUITY,
    MANIFEST,
    METRICS,
    PICTURE,
    REPORT,
    blob_name,
)
from raysignal.experiments.runs import Run
from raysignal.experiments.summary import summary, summary_dict

FILES = {
    "report": REPORT,
    "picture": PICTURE,
    "decisions": DECISIONS,
    "equity": EQUITY,
    "metrics": METRICS,
    "manifest": MANIFEST,
}


def files_of(store: str, run_id: str) -> dict[str, str]:
    """Where the files of a run lie: paths for a store on this machine, addresses for any other."""
    return {what: _place(store, blob_name(run_id, name)) for what, name in FILES.items()}


def results_dict(run: Run, store: str) -> dict[str, Any]:
    """Plain values for JSON."""
    return summary_dict(evaluation_of(run.metrics), run.manifest) | {
        "store": store,
        "files": files_of(store, run.run_id),
        "manifest": run.manifest,
    }


def show_results(run: Run, store: str, output: Output) -> None:
    """Print the summary, and where the files are."""
    output.say()
    output.out.print(summary(evaluation_of(run.metrics)), soft_wrap=False)
    output.say()
    for what, place in files_of(store, run.run_id).items():
        output.say(f"{what:<9} {escape(place)}")


def show_manifest(manifest: dict[str, Any], output: Output) -> None:
    """Print how a run was made."""
    config, came = manifest["config"], manifest["provenance"]
    said = [
        ("run", manifest["run_id"] + (f": {manifest['title']}" if manifest["title"] else "")),
        ("file", f"{came.get('file')} (sha256 {str(came.get('sha256'))[:12]}), signals {config['data'][:12]}"),
        ("read", str(came.get("read"))),
        ("policy", policy_sentence(config["policy"])),
        ("agent", _agent(config)),
        ("model", _model(config["model"], manifest["cassette"])),
        ("arms", f"{', '.join(config['arms'])}; seed {config['seed']}"),
        ("made by", f"Python {manifest['python']}, " + ", ".join(f"{n} {v}" for n, v in manifest["packages"].items())),
    ]  # fmt: skip
    for name, value in said:
        output.say(f"{name:<9} {escape(value)}")


def _agent(config: dict[str, Any]) -> str:
    gate, lag_s = config["gate"], config["settlement_lag_us"] / 1e6
    return (
        f"outcomes over {config['horizon']}{f', known {lag_s:g} s later' if lag_s else ''}; overrules from "
        f"{gate['against']:g}, asks from {gate['grey']:g}, with at least {gate['least']:g} independent precedents"
    )


def _model(model: dict[str, Any] | None, cassette: str | None) -> str:
    if model is None:
        return "none was asked"
    return f"{model['name']}, at most {model['budget']:,d} calls; answers {str(cassette)[:12]}"


def _place(store: str, name: str) -> str:
    parts = urlsplit(store)
    if parts.scheme != "file":
        return f"{store.rstrip('/')}/{name}"
    path = Path(unquote(parts.path)) / name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
