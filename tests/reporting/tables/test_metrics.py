"""The metrics table, cell by cell."""

from kdbench.reporting import build_tables


def _metrics(builder):
    return [table for table in build_tables(builder.index, builder.frame) if table.name.startswith("metrics")]


def test_the_five_metrics_of_a_pair(thesis) -> None:
    (table,) = _metrics(thesis())
    shown = {row[0].text: [cell.display for cell in row[1:]] for row in table.rows}
    assert [column.full_title for column in table.columns] == [
        *("method", "accuracy (%)", "F1 (%)", "precision (%)", "recall (%)"),
        "inference (ms)",
    ]
    assert shown["teacher"] == ["95.00", "94.00", "93.00", "92.00", "0.500"]
    scores = ["93.10 ± 1.10", "92.10 ± 1.10", "91.10 ± 1.10", "90.10 ± 1.10"]
    assert shown["vanilla"] == [*scores, "0.500"]
    assert shown["broken"] == ["3 of 3 diverged"] * 5
    assert table.configurations[:2] == ("vanilla: alpha = 0.9, temperature = 4", "dkd: beta = 8")


def test_costs_are_never_bold(thesis) -> None:
    (table,) = _metrics(thesis())
    best = next(row for row in table.rows if row[0].text == "dkd")
    assert [cell.is_bold for cell in best] == [False, True, True, True, True, False]


def test_one_table_per_pair_without_labels_of_other_pairs(builder) -> None:
    builder.add("a", [0.5], pair=("x", "t", "s"))
    builder.add("b", [0.5], pair=("y", "t", "s"))
    assert [(table.name, [row[0].text for row in table.rows]) for table in _metrics(builder)] == [
        ("metrics-x-t-s", ["a"]),
        ("metrics-y-t-s", ["b"]),
    ]


def test_a_metric_that_was_not_recorded_is_missing(builder) -> None:
    builder.add("a", [0.5])
    frame = builder.frame.drop(columns="inference_ms")
    (table,) = [table for table in build_tables(builder.index, frame) if table.name.startswith("metrics")]
    assert table.rows[0][5].is_missing
    assert table.rows[0][4].display == "47.00"


def test_the_caption_names_the_environment_of_the_timing(thesis, builder) -> None:
    (table,) = _metrics(thesis())
    where = "(NVIDIA H200 with AMD EPYC, 1 CPU thread, fp32, torch 2.15.0)"
    assert f"median of the time of one image's forward pass of the architecture with random weights {where}." in (
        table.caption
    )
    builder.add("later", [None])
    (table,) = _metrics(builder)
    assert "forward pass of the architecture with random weights." in table.caption


def test_rows_that_were_timed_elsewhere_are_named(builder) -> None:
    builder.add("a", [0.5])
    builder.add("b", [0.5], timing_processor="Intel Xeon")
    (table,) = _metrics(builder)
    assert "see the notes" in table.caption
    assert "Inference of a: NVIDIA H200 with AMD EPYC, 1 CPU thread, fp32, torch 2.15.0." in table.notes
    assert "Inference of b: NVIDIA H200 with Intel Xeon, 1 CPU thread, fp32, torch 2.15.0." in table.notes
