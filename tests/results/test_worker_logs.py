"""What workers print, in the logs of their runs."""

import pytest

from kdbench.results import Store, worker_logs


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "worker.log"
    path.write_bytes(b"before\n")
    return path


def log_lines(store, run):
    """The log of a run, without the times."""
    return [line.partition(" ")[2] for line in (store.folder(run) / "log.txt").read_text().splitlines()]


def test_the_log_has_the_attempt_and_the_position(store, log):
    store.begin_attempt("a")
    store.begin_attempt("a")
    worker_logs.log_start(store, ["a"], log, worker_logs.size(log))
    assert log_lines(store, "a") == [f"attempt 2: {log} from byte 7"]


def test_the_output_of_a_job_is_copied_to_every_run(store, log):
    with log.open("ab") as handle:
        handle.write("noise é\n".encode())
    worker_logs.log_output(store, ["a", "b"], log, 7)
    for run in "ab":
        assert (store.folder(run) / "log.txt").read_text().endswith(" output of its worker:\nnoise é\n")


def test_empty_output_is_not_logged(store, log):
    worker_logs.log_output(store, ["a"], log, 7)
    assert not (store.folder("a") / "log.txt").exists()


def test_long_output_is_truncated_at_the_start(log, monkeypatch):
    monkeypatch.setattr(worker_logs, "MAX_BYTES", 10)
    log.write_bytes(b"x" * 7 + b"0123456789" * 3)
    assert worker_logs.read_output(log, 7) == f"(20 earlier bytes are in {log})\n0123456789"


def test_output_that_is_not_text_is_shown(log):
    log.write_bytes(b"\xff\xfe torn")
    assert worker_logs.read_output(log).endswith(" torn")


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "(empty)"), (b"1\n2\n3\n4\n5\n6\n", "2 | 3 | 4 | 5 | 6"), (None, "(empty)")]
)
def test_the_tail_is_one_line(log, content, expected):
    log.unlink() if content is None else log.write_bytes(content)
    assert worker_logs.tail(log) == expected
