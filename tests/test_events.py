"""Events as objects and as JSON."""

import json
from dataclasses import fields
from typing import get_args

import pytest

from kdbench.events import EpochEnded, Event, RunResumed, WorkerDied, from_json, to_json

VALUES = {"str": "text", "int": 3, "float": 0.5, "bool": False, "tuple[str, ...]": ("a", "b")}


def example(kind: type[Event]) -> Event:
    """An event of a kind; optional fields have a value."""
    types = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(kind)}
    types = {
        name: "tuple[str, ...]" if "tuple" in text else text.removesuffix(" | None") for name, text in types.items()
    }
    return kind(**{name: VALUES[text] for name, text in types.items()})


@pytest.mark.parametrize("kind", get_args(Event))
def test_every_event_survives_the_pipe_between_processes(kind: type[Event]) -> None:
    event = example(kind)
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


def test_optional_fields_may_be_none() -> None:
    event = EpochEnded(("a",), 1, 2, 0.5, None, 1.0)
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


def test_json_names_the_kind_and_the_fields() -> None:
    assert to_json(RunResumed("3f2a", 13)) == {"event": "RunResumed", "run": "3f2a", "epoch": 13}


def test_a_worker_that_died_was_ready_by_default() -> None:
    assert WorkerDied(1, ("a",), "signal 9").was_ready


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError, match="RunExploded"):
        from_json({"event": "RunExploded"})


@pytest.mark.parametrize("data", [{"event": "RunDone"}, {"event": "RunDone", "run": "a", "epoch": 1}])
def test_missing_and_unknown_fields_are_errors(data: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        from_json(data)
