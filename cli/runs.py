"""`raysignal runs`: the experiments of a store, what came out of each and how it was made."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape, policy_sentence, rows_table
from raysignal.cli.verbs import Verb, VerbGroup, verb
from raysignal.engine.core.errors import NotFound

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.experiments.runs import Difference, Run

_SHOWN = 30
_WIDTH = 60
_ALWAYS_OWN = frozenset({"run_id"})

app = typer.Typer(
    cls=VerbGroup,
    help="The runs of raysignal compare in a store: which, what came out, what differs.",
    no_args_is_help=True,
)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run, as raysignal runs list shows it.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfig:
    """Of which store the runs are listed."""

    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    """Which run is shown."""

    run: RunId
    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffConfig:
    """Which runs are compared."""

    run: RunId
    other: RunId
    store: options.Store = None
    json: options.Json = False


def show_list(config: ListConfig) -> None:
    """List the runs of a store, the oldest first."""
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.runs import list_runs

    store, output = options.configured(store=config.store).store, Output(config.json)
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


def show_run(config: ShowConfig) -> None:
    """Show what came out of a run, where its files are, and how it was made."""
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.runs import load_run

    store, output = options.configured(store=config.store).store, Output(config.json)
    run = load_run(open_stores(store).blobs, config.run)
    if run.kind != "compare":
        _show_other(run, store, output)
        return
    if output.as_json:
        output.json(results_dict(run, store))
        return
    show_manifest(run.manifest, output)
    show_results(run, store, output)


def _show_other(run: Run, store: str, output: Output) -> None:
    """What came out of a sweep, of drawn paths or of a training."""
    place = place_of(store, run.run_id, "")
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
    if run.kind == "training":
        from raysignal.cli.model_training import show_training

        show_training(run.metrics, output)
    output.say(f"files     {escape(place)}")


def show_differences(config: DiffConfig) -> None:
    """Show what differs between two runs, in how they were made and in what came out."""
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.runs import diff_runs, load_run

    output = Output(config.json)
    blobs = open_stores(options.configured(store=config.store).store).blobs
    found = {
        part: [each for each in differences if each.path not in _ALWAYS_OWN]
        for part, differences in diff_runs(load_run(blobs, config.run), load_run(blobs, config.other)).items()
    }
    if output.as_json:
        output.json({part: [asdict(each) for each in differences] for part, differences in found.items()})
        return
    for part, differences in found.items():
        _show_part(part, differences, (config.run, config.other), output)


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


def run_to_go_on_with(blobs: BlobStore, run_id: str) -> str:
    """The id itself, if a run of that id was begun; else `NotFound`."""
    from raysignal.experiments.result_files import blob_name
    from raysignal.experiments.runs import CONFIG, check_run_id

    if blobs.get(blob_name(check_run_id(run_id), CONFIG)) is None:
        raise NotFound(
            f"there is no run {run_id!r} to go on with; raysignal runs list shows those of a store",
            run_id=run_id,
        )
    return run_id


# A run of a comparison


def files_of(store: str, run_id: str) -> dict[str, str]:
    """Where the files of a run lie: paths for a store on this machine, addresses for any other."""
    from raysignal.experiments.comparison import files as names
    from raysignal.experiments.result_files import MANIFEST, METRICS, PICTURE, REPORT

    files = {
        "report": REPORT, "picture": PICTURE, "decisions": names.DECISIONS, "equity": names.EQUITY,
        "metrics": METRICS, "manifest": MANIFEST,
    }  # fmt: skip
    return {what: place_of(store, run_id, name) for what, name in files.items()}


def results_dict(run: Run, store: str) -> dict[str, Any]:
    """Plain values for JSON."""
    from raysignal.experiments.comparison.evaluation import Evaluation
    from raysignal.experiments.comparison.summary import summary_dict

    return summary_dict(Evaluation.from_dict(run.metrics), run.manifest) | {
        "store": store,
        "files": files_of(store, run.run_id),
        "manifest": run.manifest,
    }


def show_results(run: Run, store: str, output: Output) -> None:
    """Print the summary, and where the files are."""
    from raysignal.experiments.comparison.evaluation import Evaluation
    from raysignal.experiments.comparison.summary import summary

    output.say()
    output.out.print(summary(Evaluation.from_dict(run.metrics)), soft_wrap=False)
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


def place_of(store: str, run_id: str, name: str) -> str:
    """Where a file of a run is, for a person: relative where it lies below this folder."""
    from raysignal.experiments.result_files import blob_name

    name, parts = blob_name(run_id, name), urlsplit(store)
    if parts.scheme != "file":
        return f"{store.rstrip('/')}/{name}"
    path = Path(unquote(parts.path)) / name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


app.command("list", cls=Verb)(verb(ListConfig, show_list))
app.command("show", cls=Verb)(verb(ShowConfig, show_run))
app.command("diff", cls=Verb)(verb(DiffConfig, show_differences))
