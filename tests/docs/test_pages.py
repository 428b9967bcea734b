"""The pages that describe the code name everything that is in it, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.slow
def test_generated_pages_are_current(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/docs", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_page_that_is_not_current_is_named(root: Path, tmp_path: Path) -> None:
    for name in ("scripts", "docs", "mkdocs.yml"):
        subprocess.run(["cp", "-r", str(root / name), str(tmp_path)], check=True)
    page = tmp_path / "docs" / "methods" / "vanilla.md"
    page.write_text(page.read_text(encoding="utf-8") + "edited", encoding="utf-8")
    (tmp_path / "docs" / "methods" / "removed.md").touch()
    command = [sys.executable, "scripts/docs"]
    done = subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [
        "not current: docs/methods/vanilla.md",
        "not current: docs/methods/removed.md",
    ]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(script|img|iframe)[^>]* src="https?:|<link[^>]* href="https?:', text), page


def test_the_packages_of_the_design_are_those_of_the_code(root: Path) -> None:
    text = (root / "docs" / "design.md").read_text(encoding="utf-8").partition("```\nkdbench/\n")[2].partition("```")[0]
    named = {line.split()[0].rstrip("/") for line in text.splitlines() if re.match(r"  \S", line)}
    found = {path.name for path in (root / "kdbench").iterdir() if not path.name.startswith("_")}
    assert named == found - {"py.typed"}


@pytest.mark.parametrize("page", sorted((Path(__file__).parents[2] / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(root: Path, page: Path) -> None:
    named = re.findall(
        r"`(?:python )?((?:benchmarks|scripts|matrices|examples|tests|kdbench)/[\w/.]+)", page.read_text("utf-8")
    )
    examples = ("strided", "csv_files", "brier")  # files that a reader is asked to write
    assert [name for name in named if not (root / name).exists() and not any(e in name for e in examples)] == []


def test_the_glossary_has_ten_terms(root: Path) -> None:
    terms = re.findall(r"^\*\*(\w+)\*\*$", (root / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert terms == ["matrix", "cell", "pair", "recipe", "protocol", "cohort", "role", "player", "sum", "label"]
