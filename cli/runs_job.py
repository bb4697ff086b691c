"""What `raysignal runs` does."""

import json
from dataclasses import asdict
from typing import Any

from raysignal.cli.output import Output, rows_table
from raysignal.cli.results import results_dict, show_manifest, show_results
from raysignal.cli.texts import escape
from raysignal.engine.journal.stores import open_stores
from raysignal.experiments.result_files import blob_name
from raysignal.experiments.runs import Difference, Run, diff_runs, list_runs, load_run

_SHOWN = 30
_WIDTH = 60
_ALWAYS_OWN = frozenset({"run_id"})


def list_all(store: str, output: Output) -> None:
    """The runs of a store, and how far they are."""
    runs = list_runs(open_stores(store).blobs)
    if output.as_json:
        output.json([{**asdict(run), "arms": list(run.arms)} for run in runs])
    elif not runs:
        output.say(f"there are no runs in {store} yet; raysignal compare FILE makes one")
    else:
        rows = [
            (run.run_id, run.kind, "finished" if run.finished else "begun", ", ".join(run.arms))
            for run in runs
        ]
        output.table(rows_table(("run", "kind", "state", "arms that are done"), rows))


def show_one(store: str, run_id: str, output: Output) -> None:
    """What came out of a run, and how it was made."""
    run = load_run(open_stores(store).blobs, run_id)
    if run.kind != "compare":
        _show_other(run, store, output)
        return
    if output.as_json:
        output.json(results_dict(run, store))
        return
    show_manifest(run.manifest, output)
    show_results(run, store, output)


def _show_other(run: Run, store: str, output: Output) -> None:
    """What came out of a sweep or of drawn paths."""
    place = store.removeprefix("file://") + "/" + blob_name(run.run_id, "")
    if output.as_json:
        output.json(
            {"run_id": run.run_id, "store": store, "files": place, **run.metrics, "manifest": run.manifest}
        )
        return
    output.say(
        f"run       {run.run_id}: {run.kind} of {escape(str(run.manifest['provenance'].get('file', 'prices')))}"
    )
    for symbol, found in run.metrics.get("symbols", {}).items():
        best = found["best"][0]
        ranked = found.get("ranked_by", run.metrics["objective"])
        names = [*best["parameters"], ranked, "total_return", "max_drawdown"]
        rows = [
            [
                f"{place} ruined" if one["figures"].get("ruined") else str(place),
                *(one["parameters"].get(name, one["figures"].get(name)) for name in dict.fromkeys(names)),
            ]
            for place, one in enumerate(found["best"], 1)
        ]
        output.say(f"{escape(symbol)}: best of {found['configurations']:,d}")
        output.table(rows_table(("rank", *dict.fromkeys(names)), rows))
        if found["verdict"] is not None:
            output.say(f"verdict   {escape(found['verdict']['sentence'])}")
    if run.kind == "luck":
        rows = [[name, spread["mean"], spread["error"]] for name, spread in run.metrics["figures"].items()]
        output.table(rows_table(("figure", "mean", "error"), rows))
    output.say(f"files     {escape(place)}")


def show_differences(store: str, run_id: str, other_id: str, output: Output) -> None:
    """What differs between two runs, their ids apart."""
    blobs = open_stores(store).blobs
    found = {
        part: [each for each in differences if each.path not in _ALWAYS_OWN]
        for part, differences in diff_runs(load_run(blobs, run_id), load_run(blobs, other_id)).items()
    }
    if output.as_json:
        output.json({part: [asdict(each) for each in differences] for part, differences in found.items()})
        return
    for part, differences in found.items():
        _show_part(part, differences, (run_id, other_id), output)


def _show_part(part: str, found: list[Difference], ids: tuple[str, str], output: Output) -> None:
    if not found:
        output.say(f"{part}: no difference")
        return
    more = f", the first {_SHOWN}; --json writes all" if len(found) > _SHOWN else ""
    output.say(f"{part}: {len(found):,d} {'difference' if len(found) == 1 else 'differences'}{more}")
    rows = [(each.path, _text(each.left), _text(each.right)) for each in found[:_SHOWN]]
    output.table(rows_table(("what", *ids), rows))


def _text(value: Any) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
