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
    assert shown["broken"] == ["diverged"] * 5
    assert table.configurations[:2] == ("vanilla: alpha = 0.9, temperature = 4", "dkd: beta = 8")


def test_costs_of_the_networks(thesis) -> None:
    builder = thesis()
    table = next(table for table in build_tables(builder.index, builder.frame) if table.name.startswith("costs"))
    shown = {row[0].text: [cell.display for cell in row[1:]] for row in table.rows}
    assert [column.full_title for column in table.columns] == [
        *("method", "parameters", "FLOPs", "inference (ms)", "p95 (ms)", "training (s)"),
    ]
    assert shown["teacher"] == ["2.26 M", "81 M", "0.500", "0.750", "12.3"]
    assert shown["vanilla"] == ["2.26 M", "81 M", "0.500", "0.750", "12.3 ± 0.0"]
    assert shown["broken"] == ["diverged"] * 5
    assert "95th percentile of the time of one image's forward pass in float32, on NVIDIA H200;" in table.caption
    assert any(line.startswith("vanilla: alpha = ") for line in table.configurations)
    assert not any(cell.is_bold for row in table.rows for cell in row)


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


def test_the_caption_names_the_device_of_the_timing(thesis, builder) -> None:
    (table,) = _metrics(thesis())
    assert "median time of one image's forward pass in float32, on NVIDIA H200." in table.caption
    builder.add("later", [None])
    (table,) = _metrics(builder)
    assert "median time of one image's forward pass in float32." in table.caption
