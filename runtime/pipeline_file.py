"""A `pipeline.yaml` as it is written: YAML without what can be misread, and the configuration that it says."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raysignal.engine.core.errors import InvalidField, NotFound, SettingsError
from raysignal.runtime.pipeline_config import PipelineConfig, sentences

_MOST_NESTED = 32


class _Loader(yaml.SafeLoader):
    """YAML with texts as keys, each once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            place = f"key in line {key.start_mark.line + 1}"
            if key.tag != "tag:yaml.org,2002:str":
                value = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                raise InvalidField(place, value, "a text; in quotes, if it looks like none")
            if key.value in seen:
                raise InvalidField(place, key.value, "each key once: it stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _loaded(text: str) -> Any:
    """What YAML without aliases and tags says.

    Raises:
        InvalidField, yaml.YAMLError, ValueError: where it cannot be.
    """
    depth = 0
    event: Any
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise InvalidField(f"line {line}", f"*{event.anchor}", "what it stands for, written out")
        if getattr(event, "tag", None) is not None:
            raise InvalidField(f"tag in line {line}", event.tag, "a value without one")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_NESTED:
            raise InvalidField(f"nesting in line {line}", depth, f"at most {_MOST_NESTED} levels")
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def read_config(path: Path) -> PipelineConfig:
    """The configuration that a file says.

    Raises:
        NotFound: there is no such file.
        SettingsError: every field that cannot be, with its place, its value and what was expected.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there; expected a pipeline.yaml, see docs/pipeline.md")
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    return config_of(text, str(path))


def config_of(text: str, place: str) -> PipelineConfig:
    """The configuration that a text says, which is from `place`; `SettingsError` as `read_config`."""
    try:
        said = _loaded(text)
    except InvalidField as error:
        raise SettingsError(f"{place}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{place} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise SettingsError(f"{place} holds {type(said).__name__}; expected name, instruments, strategies, …")
    try:
        return PipelineConfig(**said)
    except ValidationError as error:
        raise SettingsError(f"{place}: {sentences(error, PipelineConfig)}") from error
