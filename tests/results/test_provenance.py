import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

import kdbench
from kdbench.results import provenance as module
from kdbench.results.provenance import now, provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which kdbench seems to be."""
    package = tmp_path / "kdbench"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(kdbench, "__file__", str(package / "__init__.py"))
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_provenance() -> None:
    found = provenance()
    assert list(found) == ["kdbench_version", "git_commit", "torch_version", "host"]
    assert (found["kdbench_version"], found["host"]) == (kdbench.__version__, platform.node())
    assert found["torch_version"] == version("torch")


def commit_seen_by_a_new_process() -> str | None:
    module._git_commit.cache_clear()
    return provenance()["git_commit"]


def test_the_commit_of_a_checkout(checkout: Path) -> None:
    head = commit(checkout)
    assert re.fullmatch("[0-9a-f]{12}", head)
    assert provenance()["git_commit"] == head
    (checkout / "kdbench" / "new.py").touch()
    (checkout / "README.md").touch()
    assert commit_seen_by_a_new_process() == head
    (checkout / "kdbench" / "__init__.py").write_text("changed")
    assert commit_seen_by_a_new_process() == f"{head}+"


def test_changes_after_the_first_run_of_a_process_are_not_what_it_runs(checkout: Path) -> None:
    head = commit(checkout)
    assert provenance()["git_commit"] == head
    (checkout / "kdbench" / "__init__.py").write_text("changed")
    assert provenance()["git_commit"] == head


def test_changes_outside_the_package_do_not_count(checkout: Path) -> None:
    (checkout / "README.md").touch()
    head = commit(checkout)
    (checkout / "README.md").write_text("changed")
    assert provenance()["git_commit"] == head


def test_an_installed_package_has_no_commit(checkout: Path) -> None:
    assert provenance()["git_commit"] is None


def test_a_folder_that_only_looks_like_a_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git").mkdir()
    assert provenance()["git_commit"] is None
    commit(checkout)
    monkeypatch.setenv("PATH", "")
    assert commit_seen_by_a_new_process() is None


def test_the_time_is_utc_to_the_second() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    current = datetime.fromisoformat(now())
    assert before <= current <= datetime.now(UTC)
    assert now().endswith("+00:00")
    assert "." not in now()
