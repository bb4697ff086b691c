"""The comparison: the standing arms on one stream, in parallel, evaluated in pairs, with everything written down.

    run = compare(batch, Comparison(...), blobs, run_id=..., provenance=...)

A run that is started again with its id goes on where it ended; with other rules it is refused.
"""

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

from raysignal.agents.llm.prompting import REVIEW, load_prompt
from raysignal.agents.override.text_embeddings import EmbeddingOptions, embed_texts, free_texts_of
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.plain_values import plain_values
from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.comparison.actors import ModelArmOptions, run_arms
from raysignal.experiments.comparison.arm_trades import trade_summaries, trades_of_arms
from raysignal.experiments.comparison.arms import ARMS, ASKING, KINDS, Trial, stream_of
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate
from raysignal.experiments.comparison.examples import examples_of
from raysignal.experiments.comparison.files import read_arm, write_arm, write_results
from raysignal.experiments.comparison.patterns import patterns_of
from raysignal.experiments.comparison.report import make_report
from raysignal.experiments.comparison.results import ArmResult
from raysignal.experiments.report import ReportFiles
from raysignal.experiments.runs import fingerprint, open_run

WITHOUT_MODEL = tuple(name for name in ARMS if name not in ASKING)
_PACKAGES = ("raysignal", "numpy", "numba", "scipy", "arch", "ray", "pyarrow", "langchain-google-genai")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared.

    Attributes:
        trial: the rules of every arm.
        arms: which arms; `baseline` always among them.
        asking: how the arms `model` and `review` ask; needed for them alone.
        title: of the report.
        embedding: which model embeds free texts, and where that is on record; None: none, they are hashed.
    """

    trial: Trial = field(default_factory=Trial)
    arms: tuple[str, ...] = WITHOUT_MODEL
    asking: ModelArmOptions | None = None
    title: str = ""
    embedding: EmbeddingOptions | None = None

    def __post_init__(self) -> None:
        if self.embedding is not None:
            self.embedding.check(texts=self.trial.rules.texts)
        for name in self.arms:
            if name not in KINDS:
                raise InvalidField("arms", name, f"some of {', '.join(KINDS)}")
        if "baseline" not in self.arms:
            raise InvalidField("arms", ", ".join(self.arms), "baseline among them")
        if "random" in self.arms and "memory" not in self.arms:
            raise InvalidField("arms", ", ".join(self.arms), "memory beside random, which imitates its rate")
        if set(ASKING).isdisjoint(self.arms) != (self.asking is None):
            expected = f"{' or '.join(ASKING)}, and how to ask a model, or neither"
            raise InvalidField("arms", ", ".join(self.arms), expected)

    def config(self) -> dict[str, Any]:
        """What decides the results, in plain values; no secret, no path, no clock."""
        trial = self.trial
        return {
            "title": self.title,
            "arms": list(self.arms),
            "policy": trial.policy.as_dict(),
            "horizon": str(trial.rules.horizon),
            "settlement_lag_us": trial.rules.horizon.lag_us,
            "recall": asdict(trial.rules.recall),
            "gate": asdict(trial.rules.gate),
            "window": trial.rules.window,
            "texts": trial.rules.texts if self.embedding is None else self.embedding.config(),
            "breaker": None if trial.breaker is None else asdict(trial.breaker),
            "seed": trial.seed,
            "model": None if self.asking is None else _asking_config(self.asking),
            "review": asdict(trial.review) if "review" in self.arms else None,
        }


@dataclass(frozen=True, slots=True)
class FinishedComparison:
    """A comparison that is done.

    Attributes:
        run_id: where its files lie: `experiments/<run_id>/` in the store.
        evaluation, report, manifest: what came out.
        files: the names of what was written.
    """

    run_id: str
    evaluation: Evaluation
    report: ReportFiles
    manifest: dict[str, Any]
    files: list[str]


def compare(
    batch: SignalBatch,
    comparison: Comparison,
    blobs: BlobStore,
    *,
    run_id: str,
    provenance: Mapping[str, Any],
    progress: Callable[[str, int], None] = lambda _name, _signals: None,
) -> FinishedComparison:
    """Run the arms that are not done yet, evaluate them all, and write the results; on this process's Ray.

    Args:
        batch: the signals in time order.
        comparison: what to compare.
        blobs: the store of the results.
        run_id: of a new run, or of one that is to go on.
        provenance: where the signals came from, for the manifest: plain values without a clock.
        progress: called with an arm and how many signals it has decided.

    Raises:
        InvalidField: no signals.
        Conflict: the id belongs to a run of something else.
        RaysignalError: what an arm or the store met.
    """
    if not len(batch):
        raise InvalidField("signals", 0, "at least one")
    config = config_of(batch, comparison)
    state = open_run(blobs, run_id, config)
    trial, embeddings = comparison.trial, None
    if comparison.embedding is not None:
        embeddings = embed_texts(free_texts_of(batch), comparison.embedding)
        trial = replace(trial, embedder=embeddings)
    found = {
        name: result
        for name in comparison.arms
        if name in state.arms and (result := read_arm(blobs, run_id, name)) is not None
    }
    results = run_arms(
        comparison.arms,
        batch,
        trial,
        comparison.asking,
        found=found,
        done=lambda result: _keep(blobs, run_id, result),
        progress=progress,
    )
    stream, arms = stream_of(batch, comparison.trial), list(results.values())
    evaluation = evaluate(stream, arms)
    manifest = _manifest(comparison, config, run_id, provenance)
    if embeddings is not None:
        manifest["embeddings"] = embeddings.content_hash()
    patterns = patterns_of(stream, arms, evaluation.accuracy)
    examples = examples_of(batch, stream, arms, evaluation, trial)
    trades = trades_of_arms(stream, arms)
    summaries = trade_summaries(trades)
    report = make_report(stream, arms, evaluation, manifest, patterns, examples, summaries)
    metrics = evaluation.as_dict() | {
        "trades": summaries,
        "patterns": plain_values(patterns),
        "examples": plain_values(examples),
    }
    files = write_results(
        blobs, run_id, stream=stream, arms=arms, trades=trades, metrics=metrics, manifest=manifest, report=report.html,
        picture=report.png,
    )  # fmt: skip
    return FinishedComparison(run_id, evaluation, report, manifest, files)


def config_of(batch: SignalBatch, comparison: Comparison) -> dict[str, Any]:
    """All that decides the results of a comparison on these signals: what a run is held to when it goes on."""
    return comparison.config() | {"data": data_hash(batch)}


def data_hash(batch: SignalBatch) -> str:
    """SHA-256 over the identity and content of every signal, in order: equal streams, equal hashes."""
    digest = hashlib.sha256(batch.key.tobytes())
    digest.update(batch.content.tobytes())
    return digest.hexdigest()


def _keep(blobs: BlobStore, run_id: str, result: ArmResult) -> None:
    write_arm(blobs, run_id, result)


def _asking_config(asking: ModelArmOptions) -> dict[str, Any]:
    return {
        "name": asking.settings.model,
        "generation": asking.settings.generation(),
        "prompt": load_prompt().hash,
        "review_prompt": load_prompt(REVIEW).hash,
        "budget": asking.budget,
    }


def _manifest(
    comparison: Comparison, config: dict[str, Any], run_id: str, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    cassette = None
    if comparison.asking is not None and comparison.asking.cassette is not None:
        cassette = _cassette_hash(comparison.asking)
    return {
        "run_id": run_id,
        "title": comparison.title,
        "config": config,
        "fingerprint": fingerprint(config),
        "cassette": cassette,
        "provenance": dict(provenance),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _cassette_hash(asking: ModelArmOptions) -> str:
    from raysignal.agents.llm.cassette import Cassette  # noqa: PLC0415 - beside the one use

    assert asking.cassette is not None
    with Cassette.replay(asking.cassette) as recorded:
        return recorded.content_hash()
