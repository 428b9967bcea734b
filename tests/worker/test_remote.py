"""Jobs without a results folder: inputs and outputs are the content of files."""

import json
from dataclasses import replace

import pytest
import torch

import kdbench
from kdbench.errors import KdbenchError
from kdbench.events import (
    CheckpointSaved,
    EpochEnded,
    InferenceTimed,
    JobFailed,
    JobStarted,
    RunDone,
    RunResumed,
    RunsGivenAway,
    WorkerReady,
)
from kdbench.worker.remote import run_remote_job


@pytest.fixture
def run_job():
    """`run_job(job, *inputs)`: the events and their files."""

    def run(job, *inputs):
        messages = []
        run_remote_job(kdbench.__version__, job, inputs, "cpu", torch.get_num_threads(), messages.append)
        return messages

    return run


@pytest.fixture
def job(plan_of):
    """A job that trains a teacher."""
    plan = plan_of({"vanilla": {}})
    (teacher,) = plan.teachers
    spec = next(run for run in plan.runs if run.id == teacher)
    return {"id": 1, "train": [spec.to_json()], "options": {"checkpoint_minutes": 0.0}}


def test_events_carry_the_files_of_their_runs(run_job, job):
    messages = run_job(job)
    events = [type(message.event) for message in messages]
    assert events == [WorkerReady, JobStarted, EpochEnded, CheckpointSaved, EpochEnded, RunDone]
    files = {type(message.event): message.files for message in messages}
    run = messages[-1].event.run
    assert list(files[CheckpointSaved]) == [f"runs/{run}/checkpoint.pt"]
    files_of_run = ("history.parquet", "predictions.safetensors", "weights.safetensors")
    names = ("spec.json", *files_of_run, "log.txt", "result.json")
    assert set(files[RunDone]) == {f"runs/{run}/{name}" for name in names}
    assert json.loads(files[RunDone][f"runs/{run}/result.json"])["status"] == "done"
    assert not any(message.files for message in messages if isinstance(message.event, EpochEnded | JobStarted))


def test_a_run_resumes_from_a_checkpoint_among_its_inputs(run_job, job):
    saved = next(message for message in run_job(job) if isinstance(message.event, CheckpointSaved))
    events = [message.event for message in run_job(job, saved.files)]
    assert RunResumed(saved.event.runs[0], 2) in events
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [2]


def test_a_run_that_is_given_away_is_sent_with_its_checkpoint_and_log(plan_of):
    """The other run of the job goes on."""
    (given,) = (spec for spec in plan_of({}).runs if spec.stream == "student")
    kept = replace(given, seed=1)
    calls, messages = [], []

    def requested():
        calls.append(None)
        return [given.id] if len(calls) > 1 else []

    job = {"id": 3, "train": [given.to_json(), kept.to_json()]}
    run_remote_job(kdbench.__version__, job, (), "cpu", torch.get_num_threads(), messages.append, requested)
    (sent,) = [message for message in messages if isinstance(message.event, RunsGivenAway)]
    assert sent.event == RunsGivenAway(3, (given.id,), 1)
    assert set(sent.files) == {f"runs/{given.id}/checkpoint.pt", f"runs/{given.id}/log.txt"}
    assert [message.event.run for message in messages if isinstance(message.event, RunDone)] == [kept.id]


def test_a_timing_is_sent_with_its_file(run_job, job):
    ready, started, timed = run_job({"id": 2, "time": job["train"][0]})
    assert (ready.event, started.event) == (WorkerReady(), JobStarted(2))
    assert isinstance(timed.event, InferenceTimed)
    (content,) = timed.files.values()
    assert json.loads(content)["times"]["inference_ms"] > 0


def test_an_error_of_a_job_is_sent(run_job, job, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    messages = run_job({**job, "options": {"compile": True}})
    assert isinstance(messages[-1].event, JobFailed)


def test_another_version_is_an_error(job):
    with pytest.raises(KdbenchError, match=r"^the job was submitted by kdbench 0\.0, but .* install the same version"):
        run_remote_job("0.0", job, (), "cpu", 1, print)
