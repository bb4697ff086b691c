"""An ONNX policy: checked when it is loaded, stepped row by row or many symbols at once.

ONNX Runtime makes plausible probabilities of NaN, of a feature too many and of weights that are none. So every model
is tried before it speaks (`OnnxPolicy.load`), every feature is looked at before the graph sees it, and every answer
before anybody else does.

The graph: `features` float32[n, F] and any number of states `x`, each with an output `x_out` of its shape, give
`probabilities` (or `logits`) float32[n, 3]. Outputs beside these (a label, a value) are not computed.
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from raysignal.agents.inference.card import ModelCard, ModelFiles
from raysignal.agents.inference.values import Probabilities, SignalRequest
from raysignal.engine.core.arrays import Float32Array, Float64Array
from raysignal.engine.core.errors import InvalidField, ModelRefused, RaysignalError, SettingsError
from raysignal.engine.core.instants import format_instant

FEATURES = "features"
MOST_STATE_BYTES = 1024 * 1024
"""Of a symbol's state: it is written to the journal at each step."""
SLOWEST_S = 0.25
"""A model whose fastest step takes longer is refused."""
MOST_MEMORY_BYTES = 2 * 1024**3
"""Of all models of a process: a graph of some hundred bytes can ask for any size."""
_LOAD_S = 30.0
_PROBE_S = 1.0
_STEP_S = 5.0
"""A step that takes longer is ended, and refused: what a graph does can depend on the numbers that it is given."""
_LOOKED_S = 0.25
_SUM_TOLERANCE = 1e-3
_PROBED_BATCHES = (2, 3, 5, 8, 17)
_SHOWN_CHARACTERS = 300

Answer = tuple[Probabilities, bytes | None] | RaysignalError
"""Of one step: probabilities and the state after it, or why there are none."""


@dataclass(frozen=True, slots=True)
class StateInput:
    """A state of the graph.

    Attributes:
        name: of the input; the output is `<name>_out`.
        shape: of one row, without the axis of rows.
        axis: of rows: 0, or 1 where layers stand before it.
    """

    name: str
    shape: tuple[int, ...]
    axis: int

    @property
    def size(self) -> int:
        """Numbers of one row."""
        return math.prod(self.shape)

    @property
    def order(self) -> tuple[int, ...]:
        """Of the axes, from rows first to the graph's."""
        axes = list(range(1, len(self.shape) + 1))
        return (*axes[: self.axis], 0, *axes[self.axis :])


@dataclass(frozen=True, slots=True)
class StepTiming:
    """What a model was seen to do when it was checked.

    Attributes:
        step_ms: its fastest step of one row.
        batches: many rows at once give the same bytes as row by row, so they may be stepped together.
        state_bytes: of one symbol; 0: it has no memory.
    """

    step_ms: float
    batches: bool
    state_bytes: int


class _RunLimits:
    """Ends runs that take too long: a thread for all of them, since one for each would take longer than a step.

    It looks while something runs, and sleeps otherwise.
    """

    def __init__(self) -> None:
        self._runs: dict[int, tuple[float, Any]] = {}
        self._some, self._never = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._looking = False

    @contextmanager
    def limited(self, options: Any, limit_s: float) -> Iterator[None]:
        """Set `terminate` of a run's options once it has taken so many seconds."""
        if not self._looking:
            self._begin()
        self._runs[id(options)] = time.monotonic() + limit_s, options
        self._some.set()
        try:
            yield
        finally:
            del self._runs[id(options)]

    def _begin(self) -> None:
        with self._lock:
            if not self._looking:
                threading.Thread(target=self._look, name="model-step-limits", daemon=True).start()
                self._looking = True

    def _look(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            while self._runs:
                self._never.wait(_LOOKED_S)
                now_s = time.monotonic()
                for due_s, options in list(self._runs.values()):
                    if now_s > due_s:
                        options.terminate = True


_LIMITS = _RunLimits()


class OnnxPolicy:
    """A model that was checked; see `agents.inference.values.SignalModel`. Thread-safe.

    Attributes:
        card: of the model.
        digest: what the model is known by, in hex.
        timing: what was seen when it was checked.
    """

    placeholder = False
    optional_features: tuple[str, ...] = ()
    timing: StepTiming

    def __init__(self, files: ModelFiles, session: Any) -> None:
        self.card: ModelCard = files.card
        self.digest = files.card.digest
        self._location = files.location
        self._session = session
        try:
            self._input, self._states, self._output = _signature(files, session)
        except UnicodeDecodeError as error:
            raise self._refused(
                "the name of an input, an output or an axis is no text; expected UTF-8"
            ) from error
        self._parts = [(state, state.size, state.order) for state in self._states]
        self._begun = bytes(4 * sum(state.size for state in self._states))
        self._outputs = [self._output, *(f"{state.name}_out" for state in self._states)]
        places = {name: place for place, name in enumerate(self.card.actions)}
        self._places = [places[name] for name in ("HOLD", "BUY", "SELL")]
        scaling = () if self.card.normaliser == "graph" else self.card.normaliser
        self._mean = np.array([each.mean for each in scaling])
        self._scale = np.array([each.scale for each in scaling])

    @classmethod
    def load(cls, files: ModelFiles) -> Self:
        """The policy of a model's files, after every check.

        Raises:
            ModelRefused: why it cannot be used.
            SettingsError: ONNX Runtime is not installed.
        """
        policy = cls(files, _session(files))
        policy.timing = policy._probe()
        return policy

    @property
    def name(self) -> str:
        """Of its card."""
        return self.card.name

    @property
    def version(self) -> str:
        """Of its card."""
        return self.card.version

    @property
    def features(self) -> tuple[str, ...]:
        """Names that it must be given, in its order."""
        return self.card.features

    @property
    def has_state(self) -> bool:
        """Whether it remembers."""
        return bool(self._states)

    def step(self, request: SignalRequest, state: bytes | None) -> tuple[Probabilities, bytes | None]:
        """See `SignalModel.step`."""
        (found,) = self.run([self.row(request)], [state])
        if isinstance(found, RaysignalError):
            raise found
        return found

    def row(self, request: SignalRequest) -> Float64Array:
        """The features of a request in the card's order, float64[F].

        Raises:
            InvalidField: one is missing, NaN, infinite, beyond float32 or too old.
        """
        values = np.array([_value(request, name) for name in self.card.features])
        most_us = self.card.max_age_us
        for name, known_us in request.known_at_us.items():
            age_us = request.at_us - known_us
            if name in self.card.features and not 0 <= age_us <= most_us:
                raise InvalidField(
                    f"feature {name}",
                    f"known at {format_instant(known_us)}",
                    f"one that was known at {format_instant(request.at_us)} and is not older than "
                    f"{most_us / 1e6:g} s, as the card of {self.name} {self.version} says",
                )
        self._inputs(values[None], self.card.features)
        return values

    def steps(self, requests: Sequence[SignalRequest], states: Sequence[bytes | None]) -> list[Answer]:
        """Steps of requests for different symbols, together where that gives the same bytes.

        Args:
            requests: each of its own symbol.
            states: of each one's symbol; None: an episode begins.
        """
        found: list[Answer | None] = [None] * len(requests)
        rows = list[tuple[int, Float64Array]]()
        for place, request in enumerate(requests):
            try:
                rows.append((place, self.row(request)))
            except InvalidField as error:
                found[place] = error
        if rows:
            answers = self.run([row for _, row in rows], [states[place] for place, _ in rows])
            for (place, _), answer in zip(rows, answers, strict=True):
                found[place] = answer
        return [each for each in found if each is not None]

    def run(self, rows: Sequence[Float64Array], states: Sequence[bytes | None]) -> list[Answer]:
        """Steps of rows: their probabilities and states, or why an answer is none.

        Args:
            rows: as `row` gives them; at least one.
            states: of each one's symbol; None: an episode begins.
        """
        if len(rows) == 1 or self.timing.batches:
            try:
                answers = self._ran(rows, states, _STEP_S)
            except ModelRefused as error:
                if len(rows) == 1:
                    return [error]
            else:
                return [self._answer(answers, row) for row in range(len(rows))]
        # One by one also where they failed together: one symbol's numbers are not to cost the others their answers.
        return [found for pair in zip(rows, states, strict=True) for found in self.run([pair[0]], [pair[1]])]

    # One run

    def _ran(
        self, rows: Sequence[Float64Array], states: Sequence[bytes | None], limit_s: float
    ) -> Sequence[Any]:
        """The outputs of one run, of the shapes that were expected.

        Raises:
            ModelRefused: it fails on these numbers, or did not end within so many seconds.
        """
        feeds = {self._input: self._inputs(np.stack(rows))}
        for state, column in zip(self._states, self._unpacked(states), strict=True):
            feeds[state.name] = column
        options = _runtime().RunOptions()
        options.log_severity_level = 4
        try:
            with _LIMITS.limited(options, limit_s):
                answers: Sequence[Any] = self._session.run(self._outputs, feeds, options)
        except Exception as error:
            said = f"a step fails: {_said(error)}"
            if options.terminate:
                said = f"a step did not end within {limit_s:g} s; expected at most {SLOWEST_S:g} s"
            raise self._refused(said) from error
        expected = [(len(rows), 3), *(feeds[state.name].shape for state in self._states)]
        for name, answer, shape in zip(self._outputs, answers, expected, strict=True):
            if answer.shape != shape or answer.dtype != np.float32:
                raise self._refused(
                    f"its output {name} is {answer.dtype}{list(answer.shape)}; expected float32{list(shape)}"
                )
        return answers

    def _inputs(self, values: Float64Array, names: Sequence[str] = ()) -> Float32Array:
        """What the graph is given; `InvalidField` of a name whose value has no float32."""
        with np.errstate(over="ignore"):
            scaled = (values - self._mean) / self._scale if len(self._mean) else values
            found = scaled.astype(np.float32)
        if names and not np.isfinite(found).all():
            place = int(np.argmin(np.isfinite(found[0])))
            raise InvalidField(
                f"feature {names[place]}", float(values[0, place]), "a finite number of float32"
            )
        return found

    def _unpacked(self, states: Sequence[bytes | None]) -> Iterator[Float32Array]:
        """Each state's rows together, in the graph's shape."""
        if not self._states:
            return
        data = b"".join([self._begun if each is None else each for each in states])
        packed = np.frombuffer(data, "<f4").reshape(len(states), -1)
        place = 0
        for state, size, order in self._parts:
            part = packed[:, place : place + size].reshape(len(states), *state.shape)
            yield np.ascontiguousarray(part.transpose(order))
            place += size

    def _answer(self, answers: Sequence[Any], row: int) -> tuple[Probabilities, bytes | None] | ModelRefused:
        values = answers[0][row].astype(np.float64)
        if self.card.output == "logits" and np.isfinite(values).all():
            values = np.exp(values - values.max())
            values /= values.sum()
        total = float(values.sum())
        if not (np.isfinite(values).all() and (values >= 0.0).all() and abs(total - 1.0) <= _SUM_TOLERANCE):
            said = ", ".join(f"{value:g}" for value in values.tolist())
            return self._refused(
                f"its {self.card.output} are {said}; expected three from 0 to 1 that sum to 1"
                if self.card.output == "probabilities"
                else f"its logits are {said}; expected three finite numbers"
            )
        state = b"".join(
            np.ascontiguousarray(answer.take(row, axis=each.axis), "<f4").tobytes()
            for each, answer in zip(self._states, answers[1:], strict=True)
        )
        if not np.isfinite(np.frombuffer(state, "<f4")).all():
            return self._refused("its state is NaN or infinite after a step; expected finite numbers")
        shares = [float(values[place]) / total for place in self._places]
        return Probabilities(*shares), state if self._states else None

    def _refused(self, reason: str) -> ModelRefused:
        return ModelRefused(self._location, reason)

    # The check

    def _probe(self) -> StepTiming:
        """Step it on zeros and on random numbers, one row and several, within a bound of time."""
        random = np.random.default_rng(0)
        rows = random.standard_normal((max(_PROBED_BATCHES), len(self.card.features)))
        rows[0] = 0.0
        ((_, state),) = self._probed([rows[0]], [None])
        step_s = min(self._timed(rows[0]) for _ in range(3))
        if step_s > SLOWEST_S:
            raise self._refused(f"its fastest step takes {step_s:.3g} s; expected at most {SLOWEST_S:g} s")
        if self._probed([rows[1]], [None]) != self._probed([rows[1]], [None]):
            raise self._refused(
                "the same numbers give another answer each time; expected no random ones in it"
            )
        for row in rows[1:4]:
            ((_, state),) = self._probed([row], [state])
        size = 4 * sum(state.size for state in self._states)
        return StepTiming(step_s * 1e3, self._batches(rows, state, step_s), size)

    def _batches(self, rows: Float64Array, state: bytes | None, step_s: float) -> bool:
        """Whether many rows at once are the same bytes as row by row."""
        if step_s * sum(_PROBED_BATCHES) > _PROBE_S:
            return False
        single = [self._probed([row], [state])[0] for row in rows]
        for count in _PROBED_BATCHES:
            try:
                together = self._probed(list(rows[:count]), [state] * count)
            except ModelRefused:
                return False  # its rows are fixed to one
            if together != single[:count]:
                return False
        return True

    def _timed(self, row: Float64Array) -> float:
        began = time.perf_counter()
        self.run([row], [None])
        return time.perf_counter() - began

    def _probed(
        self, rows: Sequence[Float64Array], states: Sequence[bytes | None]
    ) -> list[tuple[Probabilities, bytes | None]]:
        """One run of the check."""
        answers = self._ran(rows, states, _PROBE_S)
        found = []
        for row in range(len(rows)):
            answer = self._answer(answers, row)
            if isinstance(answer, ModelRefused):
                raise ModelRefused(
                    self._location,
                    f"tried with {'zeros' if not rows[row].any() else 'random numbers'}, {answer.fields['reason']}",
                )
            found.append(answer)
        return found


def load_model(location: str) -> OnnxPolicy:
    """The model of a folder or a prefix in S3, after every check.

    Raises:
        ModelRefused: why it cannot be used.
        StoreUnavailable: its place cannot be read now.
        SettingsError: ONNX Runtime is not installed.
    """
    return OnnxPolicy.load(ModelFiles.read(location))


def check_values(values: Mapping[str, Any]) -> None:
    """`InvalidField` of a value that is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidField(f"feature {name}", value, "a finite number")


def _value(request: SignalRequest, name: str) -> float:
    value = request.features.get(name)
    if value is None and name == "close":
        value = request.close
    if value is None:
        raise InvalidField(
            f"feature {name}", None, f"a number: the model needs it of {request.symbol}, and nothing gives it"
        )
    check_values({name: value})
    return float(value)


# ONNX Runtime


def _runtime() -> Any:
    """The package, imported when a model is first loaded; all sessions share its memory, which is bounded."""
    try:
        import onnxruntime  # noqa: PLC0415 - of the extra `inference`, and slow to import
    except ImportError as error:
        raise SettingsError(
            "a model needs ONNX Runtime, which is not installed; expected the extra `inference`: "
            "pip install 'raysignal[inference]'"
        ) from error
    _bound_memory(onnxruntime)
    return onnxruntime


@cache
def _bound_memory(onnxruntime: Any) -> None:
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # As much at a time as is asked for: what is small stays small.
    bounds = {"max_mem": MOST_MEMORY_BYTES, "arena_extend_strategy": 1}
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(bounds))


def _session(files: ModelFiles) -> Any:
    """A session on one thread; `ModelRefused` with what ONNX Runtime says."""
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights that lie in other files are not under the card's hash: there is no folder to find them in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null/none")
    with _deadline(_LOAD_S, lambda: options.set_load_cancellation_flag(True)) as passed:
        try:
            # Without the fallback, which prints to stdout and tries the same once more.
            return runtime.InferenceSession(
                files.graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            said = f"it took longer than {_LOAD_S:g} s to load" if passed.is_set() else _said(error)
            raise ModelRefused(files.location, f"ONNX Runtime refuses it: {said}") from error


@contextmanager
def _deadline(seconds: float, end: Any) -> Iterator[threading.Event]:
    """Call `end` when so many seconds have passed within; the event says that they have."""
    passed = threading.Event()

    def over() -> None:
        passed.set()
        end()

    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()


def _said(error: Exception) -> str:
    """What ONNX Runtime says, without its own file names."""
    text = " ".join(str(error).split())
    text = text.partition("[ONNXRuntimeError] : ")[2] or text
    for mark in ("ONNX Runtime only", "Error: ", "Available memory"):
        text = text[text.index(mark) :] if mark in text else text
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _signature(files: ModelFiles, session: Any) -> tuple[str, tuple[StateInput, ...], str]:
    """Names of the input, the states and the output that count.

    Raises:
        ModelRefused: an input or an output is missing, or of another type or shape.
    """

    def refused(reason: str) -> ModelRefused:
        return ModelRefused(files.location, reason)

    inputs = {each.name: each for each in session.get_inputs()}
    outputs = {each.name: each for each in session.get_outputs()}
    name = FEATURES if FEATURES in inputs else next(iter(inputs), "")
    if name != FEATURES and len(inputs) != 1:
        raise refused(f"its inputs are {', '.join(inputs) or 'none'}; expected one of the name {FEATURES}")
    count, given = len(files.card.features), inputs[name]
    if given.type != "tensor(float)" or len(given.shape) != 2:
        raise refused(f"its input {name} is {_typed(given)}; expected float32[n, {count}]")
    if isinstance(given.shape[1], int) and given.shape[1] != count:
        raise refused(
            f"its input {name} takes {given.shape[1]} features; its card names {count}: "
            f"{', '.join(files.card.features)}"
        )
    states = []
    for each in inputs.values():
        if each.name == name:
            continue
        states.append(_state(each, refused))
        if f"{each.name}_out" not in outputs:
            raise refused(
                f"its input {each.name} has no output {each.name}_out; expected the state after a step"
            )
    size = 4 * sum(state.size for state in states)
    if size > MOST_STATE_BYTES:
        raise refused(f"its state has {size} bytes a symbol; expected at most {MOST_STATE_BYTES}")
    return name, tuple(states), _output(files, outputs, states, refused)


def _state(given: Any, refused: Any) -> StateInput:
    """A state whose rows are the first axis that is free, or the first of length 1; the others are fixed."""
    shape = list(given.shape)
    axis = next((place for place, length in enumerate(shape[:2]) if not isinstance(length, int)), None)
    if axis is None:
        axis = next((place for place, length in enumerate(shape[:2]) if length == 1), None)
    rest = [] if axis is None else [length for place, length in enumerate(shape) if place != axis]
    if (
        given.type != "tensor(float)" or axis is None or not rest
        or not all(isinstance(length, int) and length > 0 for length in rest)
    ):  # fmt: skip
        raise refused(
            f"its input {given.name} is {_typed(given)}; expected a state float32[n, H] of a fixed H"
        )
    return StateInput(given.name, tuple(rest), axis)


def _output(files: ModelFiles, outputs: Mapping[str, Any], states: Sequence[StateInput], refused: Any) -> str:
    wanted = files.card.output
    own = {f"{state.name}_out" for state in states}
    found = [
        name
        for name, each in outputs.items()
        if name not in own
        and each.type == "tensor(float)"
        and len(each.shape) == 2
        and (each.shape[1] == 3 or not isinstance(each.shape[1], int))
    ]
    if wanted in found:
        return wanted
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{name} {_typed(each)}" for name, each in outputs.items() if name not in own)
    hint = "; of scikit-learn, export with zipmap=False" if "seq(map" in shown else ""
    raise refused(f"its outputs are {shown or 'none'}; expected {wanted} float32[n, 3]{hint}")


def _typed(given: Any) -> str:
    kind = given.type.removeprefix("tensor(").removesuffix(")").replace("float", "float32", 1)
    return f"{kind}[{', '.join(str(length) for length in given.shape)}]"
