"""Workers that start before the matrix is planned."""

from pathlib import Path

import pytest
from processes import processes_in

from kdbench.errors import KdbenchError
from kdbench.executor import start_workers
from kdbench.matrix.schema import RunOptions
from kdbench.results import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def options(**run: object) -> RunOptions:
    return RunOptions.model_validate({"devices": "cpu", "workers": 2, **run})


def test_workers_that_are_left_at_the_end_of_the_block_are_killed(store: Store) -> None:
    def plan() -> None:
        with start_workers(options(), store):
            assert len(processes_in(store.root.parent)) == 2
            raise KdbenchError("the matrix is wrong")

    with pytest.raises(KdbenchError, match="the matrix is wrong"):
        plan()
    assert processes_in(store.root.parent) == []
    assert list((store.root / "workers").iterdir()) == []


def test_a_start_fixes_no_threads(store: Store) -> None:
    with start_workers(options(threads=2, workers=1), store) as executor:
        assert [environment.threads for environment in executor.environments()] == [2]
    assert store.threads is None


def test_workers_have_the_threads_of_the_folder(store: Store) -> None:
    store.fix_threads(2)
    with start_workers(options(workers=1), store) as executor:
        assert [environment.threads for environment in executor.environments()] == [2]


def test_other_threads_are_an_error_before_a_worker_starts(store: Store) -> None:
    store.fix_threads(1)
    with (
        pytest.raises(KdbenchError, match=r"run.threads is 2, but .* with 1 per worker.*set run.threads = 1"),
        start_workers(options(threads=2), store),
    ):
        pass
    assert not (store.root / "workers").exists()
