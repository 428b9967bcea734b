"""Columns whose rows were made in several environments."""

from kdbench.reporting import build_tables, render
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.mixed_environments import mixed_environment_notes
from kdbench.reporting.rows import make_rows


def _notes(builder):
    results = MatrixResults(builder.index, builder.frame, "last")
    return mixed_environment_notes(results, make_rows(results), results.pairs[0])


def test_one_environment_has_no_footnote(builder) -> None:
    for label in ("a", "b"):
        builder.add(label, [0.5, 0.6], kdbench_version="0.1.0", numerics=1, compile=False)
    assert _notes(builder) == ()


def test_the_rows_of_each_version_are_named(builder) -> None:
    for label, version in (("a", "2.7.1"), ("b", "2.15.0"), ("c", "2.15.0")):
        builder.add(label, [0.5, 0.6], torch_version=version)
    assert _notes(builder) == ("torch: 2.7.1 (a); 2.15.0 (the others)",)


def test_a_row_with_several_versions_is_named_with_each(builder) -> None:
    builder.add("a", [0.5, 0.6], numerics=1)
    builder.add("b", [0.5, 0.6], numerics=2)
    builder.rows[0]["numerics"] = 2
    assert _notes(builder) == ("numerics: 1 (a); 2 (a, b)",)


def test_every_property_has_its_own_footnote(builder) -> None:
    builder.add("a", [0.5], processor="Xeon", threads=1, compile=False, cuda_graphs=False, kdbench_version="0.1.0")
    builder.add("b", [0.5], processor="EPYC", threads=2, compile=True, cuda_graphs=True, kdbench_version="0.2.0")
    titles = [note.partition(":")[0] for note in _notes(builder)]
    assert titles == ["kdbench", "processor", "threads", "compile", "CUDA graphs"]


def test_the_device_counts_where_no_processor_was_recorded(builder) -> None:
    builder.add("a", [0.5], device="cpu")
    builder.add("b", [0.5], device="cuda")
    assert _notes(builder) == ("processor: cpu (a); cuda (the others)",)


def test_every_format_shows_it(builder) -> None:
    builder.add("a", [0.5], torch_version="2.7.1")
    builder.add("b", [0.5], torch_version="2.15.0")
    accuracy, metrics, *_ = build_tables(builder.index, builder.frame)
    for table in (accuracy, metrics):
        for name in ("table", "markdown", "latex", "csv"):
            assert "torch: 2.7.1 (a); 2.15.0 (the others)" in " ".join(render(table, name).split())
