"""Versions that are written in several files agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import kdbench


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


@pytest.fixture(scope="module")
def workflow(root: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load((root / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    return workflow


def test_the_citation_has_the_version_of_the_package(root: Path) -> None:
    assert yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["version"] == kdbench.__version__


def test_the_changelog_has_the_version_of_the_package(root: Path) -> None:
    assert f"## [{kdbench.__version__}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_workflow_tests_the_oldest_and_newest_python(project: dict[str, Any], workflow: dict[str, Any]) -> None:
    listed = [
        m[1] for c in project["classifiers"] if (m := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c))
    ]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == [listed[0], listed[-1]]
    assert project["requires-python"] == f">={listed[0]}"


def test_the_workflow_tests_the_oldest_torch(project: dict[str, Any], workflow: dict[str, Any]) -> None:
    commands = " ".join(step.get("run", "") for step in workflow["jobs"]["test"]["steps"])
    for package in ("torch", "torchvision"):
        (oldest,) = (d.partition(">=")[2] for d in project["dependencies"] if d.startswith(f"{package}>="))
        assert f"{package}=={oldest}.*" in commands


def test_the_workflow_runs_the_scripts(root: Path, workflow: dict[str, Any]) -> None:
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    for script in ("scripts/check", "scripts/test", "scripts/test --fast"):
        assert script in commands
        assert (root / script.split()[0]).exists()


def test_every_dependency_is_pinned(root: Path, project: dict[str, Any]) -> None:
    pinned = {line.partition("==")[0] for line in (root / "constraints.txt").read_text(encoding="utf-8").split()}
    extras = [d for name, group in project["optional-dependencies"].items() if name != "bench" for d in group]
    wanted = {re.split(r"[\[>]", d)[0] for d in [*project["dependencies"], *extras]} - {"kdbench"}
    assert wanted - pinned == set()
