"""From a results folder to a folder of reports."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import kdbench.reporting.write as module
import kdbench.results.table
from kdbench.errors import ReportError
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.reporting import make_report, write_report
from kdbench.results import IndexCell, MatrixIndex, Store
from kdbench.results.index import Training


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, thesis) -> None:
    """Two matrices over one frame, instead of a results folder."""
    builder = thesis()
    indexes = (builder.index, replace(builder.index, name="paper", validation=0.0))
    monkeypatch.setattr(module, "load_indexes", lambda root: indexes)
    monkeypatch.setattr(kdbench.results.table, "load_results", lambda root: builder.frame)


def test_every_matrix_is_reported(results: None, tmp_path: Path) -> None:
    reports = write_report("results", tmp_path)
    written = [path for report in reports for path in report.paths]
    assert [report.matrix for report in reports] == ["thesis", "paper"]
    assert reports[0].accuracy.name == "accuracy"
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {"thesis", "paper"}
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(written)
    text = (tmp_path / "thesis" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# thesis\n\n- matrix: matrices/thesis.toml\n- selection: last epoch\n")
    assert "- runs: 14 done, 4 failed, 0 running, 4 pending\n" in text
    assert re.search(r"\| dkd +\| +\*\*93\.23 ± 1\.17\*\* \| +\+2\.23 \[1\.61, 2\.86\] \|", text)


def test_tables_are_written_as_latex_and_csv(results: None, tmp_path: Path) -> None:
    write_report("results", tmp_path, ["thesis"])
    names = sorted(path.name for path in (tmp_path / "thesis" / "tables").iterdir())
    pair = "cifar10-resnet34-resnet18"
    stems = ("accuracy", f"metrics-{pair}", f"costs-{pair}", f"alpha-vanilla-{pair}", "hyperparameters")
    missing = ("failed", "incompatible", "pending")
    assert names == sorted(f"{stem}.{end}" for stem in (*stems, *missing) for end in ("csv", "tex"))
    assert "\\label{tab:thesis-accuracy}" in (tmp_path / "thesis" / "tables" / "accuracy.tex").read_text("utf-8")


def test_a_second_report_is_the_same(results: None, tmp_path: Path) -> None:
    (first,) = write_report("results", tmp_path, ["thesis"])
    texts = {path: path.read_bytes() for path in first.paths}
    assert write_report("results", tmp_path, ["thesis"]) == (first,)
    assert {path: path.read_bytes() for path in first.paths} == texts


def test_a_given_frame_is_used(results: None, tmp_path: Path) -> None:
    frame = kdbench.results.table.load_results("results")
    frame.loc[frame["status"] == "done", "test_accuracy"] = 0.125
    (report,) = write_report("results", tmp_path, ["thesis"], frame=frame)
    assert "12.50 ± 0.00" in report.paths[0].read_text(encoding="utf-8")


def test_the_selection_is_in_the_report(results: None, tmp_path: Path) -> None:
    write_report("results", tmp_path, ["thesis"], "best_validation")
    assert "selection: best validation epoch" in (tmp_path / "thesis" / "report.md").read_text(encoding="utf-8")


def test_an_unknown_matrix_is_refused_before_anything_is_written(results: None, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no matrix 'thesys' in 'results'; did you mean 'thesis'"):
        write_report("results", tmp_path, ["paper", "thesys"])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_if_one_matrix_does_not_support_the_selection(results: None, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"matrix 'paper' has protocol\.validation = 0"):
        write_report("results", tmp_path, selection="best_validation")
    assert list(tmp_path.iterdir()) == []


def test_no_matrix_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "load_indexes", lambda root: ())
    with pytest.raises(ReportError, match="no matrix in 'results'; run `kdbench run"):
        write_report("results", tmp_path)


def test_nothing_is_printed(results: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report("results", tmp_path)
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written(results: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"file: the report cannot be written \(Not a directory\); choose another"):
        write_report("results", tmp_path / "file")


def test_labels_with_the_same_slug_get_different_files(builder) -> None:
    for label in ("a + b", "a-b"):
        for value in (1, 2):
            builder.add(label, [0.5], hyperparameters={"x": value})
    names = [
        name for name in make_report(builder.index, builder.frame).files() if name.startswith("tables/configurations")
    ]
    assert names == [f"tables/configurations-{stem}.{end}" for stem in ("a-b", "a-b-2") for end in ("tex", "csv")]


def test_a_results_folder_written_by_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    data, network = DataSpec("digits", "digits"), NetworkSpec("mlp_8")
    specs = [RunSpec(data, network, (Part("scratch"),), Recipe(), Split(), seed) for seed in (0, 1, 2)]
    runs = {str(spec.seed): spec.id for spec in specs}
    cell = IndexCell("scratch", "scratch", "digits", "mlp_64", "mlp_8", "scratch", {}, runs)
    recipe = Recipe().model_dump(mode="json")
    store.write_index(
        MatrixIndex("tiny", "tiny.toml", "0", 0.1, False, (cell,), trainings={"": Training(recipe, 9, 1, 10, 10, 1)})
    )
    for spec, accuracy in zip(specs[:2], (0.5, 0.7), strict=True):
        store.write_spec(spec)
        store.write_result(spec.id, {"status": "done", "row": {"test_accuracy": accuracy, "val_accuracy": 0.5}})
    write_report(tmp_path / "results", tmp_path / "reports")
    text = (tmp_path / "reports" / "tiny" / "report.md").read_text(encoding="utf-8")
    assert "| student from scratch | **60.00 ± 14.14 (n=2)†** |" in text
    assert "| 1 of 3 seeds |" in text
    assert "- runs: 2 done, 0 failed, 0 running, 1 pending\n" in text


def test_the_summary_lists_versions_and_devices(builder) -> None:
    for version in ("2.15.0", "2.14.0"):
        builder.add(version, [0.5], device="cpu", torch_version=version, precision="fp32")
    summary = make_report(builder.index, builder.frame).files()["report.md"].partition("##")[0]
    assert "- validation: 0.1 of the training images\n" in summary
    assert "- torch: 2.14.0, 2.15.0\n- device: cpu\n- precision: fp32\n" in summary
    assert "compile" not in summary
    builder.validation = 0.0
    assert "- validation: none\n" in make_report(builder.index, builder.frame).files()["report.md"]


def test_the_summary_lists_compile_and_cuda_graphs_if_any_run_has_them(builder) -> None:
    for label, compiled in (("plain", False), ("compiled", True)):
        builder.add(label, [0.5], compile=compiled, cuda_graphs=False)
    summary = make_report(builder.index, builder.frame).files()["report.md"].partition("##")[0]
    assert "- compile: False, True\n" in summary
    assert "cuda_graphs" not in summary
