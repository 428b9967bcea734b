"""What notebooks and scripts call: the names of the package, and `run`, `tune`, `report`, `load_results`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import kdbench
from kdbench.errors import MatrixError, ReportError

QUICKSTART = Path(__file__).parent.parent / "matrices" / "quickstart.toml"
MATRIX = """
name = "small"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{ teacher = "cnn_4_8", student = "mlp_8" }]

[recipe]
epochs = 1
batch_size = 50
train_samples = 100
precision = "fp32"

[methods.vanilla]

[run]
devices = "cpu"
workers = 1
"""


class Small:
    """The small matrix after `kdbench.run`, and what that returned and printed."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "small.toml"
        self.file.write_text(MATRIX)
        self.folders = {"results": folder / "results", "reports": folder / "reports"}
        self.frame = kdbench.run(self.file, **self.folders, progress=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small"))


def test_importing_kdbench_and_reading_a_matrix_loads_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, kdbench\n"
        "assert callable(kdbench.run) and callable(kdbench.tune) and callable(kdbench.report)\n"
        f"assert kdbench.load_matrix({str(QUICKSTART)!r}).name == 'quickstart'\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_exported_name_exists() -> None:
    assert all(getattr(kdbench, name) is not None for name in kdbench.__all__)
    assert set(kdbench.__all__) <= set(dir(kdbench))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdbench.nothing


def test_no_submodule_hides_a_function() -> None:
    script = (
        "import kdbench, kdbench.cli.app, kdbench.cli.report, kdbench.cli.run, kdbench.reporting, kdbench.tuning\n"
        "print([type(getattr(kdbench, name)).__name__ for name in ('run', 'tune', 'report')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['function', 'function', 'function']"


def test_the_teachers_of_the_quickstart_come_first() -> None:
    runs = kdbench.load_matrix(QUICKSTART).runs()
    teachers, students = runs[:6], runs[6:]  # paired with the search seed and five seeds
    assert len(students) == 2 + 5 * (1 + 4) == len({run.id for run in runs}) - 6  # the choice of rkd_v2 is not known
    assert {run.student.name for run in teachers} == {"cnn_32_64_fc128"}
    assert [run.seed for run in students] == sorted(run.seed for run in students)
    by_seed = {run.seed: run.id for run in teachers}
    assert all(run.teacher is None or run.teacher.id == by_seed[run.seed] for run in students)


def test_a_loss_without_the_harness() -> None:
    student = kdbench.models.build("wrn_16_2", num_classes=100, image_shape=(3, 32, 32))
    teacher = kdbench.models.build("resnet8x4", num_classes=100, image_shape=(3, 32, 32))
    method = kdbench.methods.create("rkd_v2", student=student, teacher=teacher, alpha=0.9, temperature=4.0)
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(100, (4,))
    batch = kdbench.Batch(images, labels, torch.arange(4), 0.0, (images,))
    step = next(iter(method.steps(batch)))
    assert step.player == "student"
    assert set(step.losses) == {"ce", "kl"}
    assert all(torch.isfinite(loss) for loss in step.losses.values())


@pytest.mark.slow
def test_run_returns_one_row_per_run(small: Small) -> None:
    assert sorted(small.frame["label"]) == ["scratch", "scratch", "teacher", "vanilla", "vanilla"]
    assert set(small.frame["status"]) == {"done"}
    assert set(small.frame["run_id"]) == {run.id for run in kdbench.load_matrix(small.file).runs()}
    pd.testing.assert_frame_equal(small.frame, kdbench.load_results(small.folders["results"]))
    assert (small.folders["reports"] / "small" / "report.md").exists()


@pytest.mark.slow
def test_a_finished_matrix_returns_the_same_without_training(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    pd.testing.assert_frame_equal(kdbench.run(kdbench.load_matrix(small.file), **small.folders), small.frame)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_run_returns_only_the_runs_of_its_matrix(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.toml"
    file.write_text(MATRIX.replace('"small"', '"one"').replace("[0, 1]", "[0]"))
    frame = kdbench.run(file, **small.folders)
    assert sorted(frame["label"]) == ["scratch", "teacher", "vanilla"]
    assert "3 runs, 3 already finished" in capsys.readouterr().out
    tables = kdbench.report(**small.folders)
    assert list(tables.index.unique("matrix")) == ["one", "small"]
    pd.testing.assert_frame_equal(  # with one seed there is no column over seeds and test images
        tables.loc["small"].astype(float), kdbench.report("small", **small.folders).astype(float), check_like=True
    )
    (small.folders["results"] / "matrices" / "one.json").unlink()


@pytest.mark.slow
def test_report_returns_the_accuracy_table_in_percent(small: Small) -> None:
    table = kdbench.report("small", **small.folders)
    scores = small.frame[small.frame["label"] == "vanilla"]["test_accuracy"]
    row = table.loc["vanilla"]
    assert row["digits: cnn_4_8 → mlp_8"] == pytest.approx(100 * scores.mean())
    assert row["digits: cnn_4_8 → mlp_8, std"] == pytest.approx(100 * scores.std())
    assert row["digits: cnn_4_8 → mlp_8, n"] == 2
    with pytest.raises(ReportError, match="did you mean 'small'"):
        kdbench.report("smal", **small.folders)


@pytest.mark.slow
def test_a_failed_run_is_a_row_and_no_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(kdbench.__file__).parent.parent}")
    Path("custom_failing.py").write_text(
        "from typing import final\n"
        "from kdbench import Offline\n\n"
        "@final\n"
        "class Failing(Offline):\n"
        "    def losses(self, student, teacher, batch):\n"
        "        raise RuntimeError('the bank is empty')\n"
    )
    text = MATRIX.replace("[0, 1]", "[0]").replace("[methods.vanilla]", '[methods."custom_failing:Failing"]')
    Path("failing.toml").write_text(text)
    frame = kdbench.run("failing.toml", progress=False).set_index("label")
    assert list(frame.loc[["teacher", "scratch"], "status"]) == ["done", "done"]
    assert tuple(frame.loc["custom_failing:Failing", ["status", "error"]]) == (
        "failed",
        "RuntimeError: the bank is empty",
    )


def test_a_matrix_without_a_compatible_cell_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.write_text(MATRIX + '[[exclude]]\ndataset = "digits"\n')
    with pytest.raises(MatrixError, match="all cells are incompatible or excluded"):
        kdbench.run(file, results=tmp_path / "results", reports=tmp_path / "reports")


@pytest.mark.slow
def test_tune_returns_one_row_per_trial(small: Small, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"matrix": small.file, "results": small.folders["results"], "progress": False}
    frame = kdbench.tune("vanilla", trials=2, **arguments)
    assert list(frame.columns) == ["alpha", "temperature", "val_accuracy", "failed_seeds"]
    assert list(frame["failed_seeds"]) == [0, 0]
    assert (frame.attrs["seeds"], frame.attrs["validation_images"]) == ([0, 1], 142)  # stratified, of 1437
    best = frame.loc[frame["val_accuracy"].idxmax()]
    assert frame.attrs["table"] == {name: best[name] for name in ("alpha", "temperature")}
    assert tuple(frame.loc[0, ["alpha", "temperature"]]) == (0.9, 4.0)
    runs = small.frame[small.frame["label"] == "vanilla"]
    assert frame.loc[0, "val_accuracy"] == pytest.approx(runs["val_accuracy"].mean())
    pd.testing.assert_frame_equal(kdbench.tune("vanilla", trials=2, **arguments), frame)
