"""Table 2, cell by cell."""

from kdbench.reporting import tables


def _metrics(world):
    return [table for table in tables(world.index, world.frame) if table.name.startswith("metrics")]


def test_the_five_metrics_of_a_pair(thesis) -> None:
    (table,) = _metrics(thesis())
    shown = {row[0].text: [cell.shown for cell in row[1:]] for row in table.rows}
    assert [column.full_title for column in table.columns] == [
        *("method", "accuracy (%)", "F1 (%)", "precision (%)", "recall (%)"),
        "inference (ms)",
    ]
    assert shown["teacher"] == ["95.00", "94.00", "93.00", "92.00", "0.500"]
    scores = ["93.10 ± 1.10", "92.10 ± 1.10", "91.10 ± 1.10", "90.10 ± 1.10"]
    assert shown["vanilla"] == [*scores, "0.500"]
    assert shown["broken"] == ["failed"] * 5
    assert table.configurations[:2] == ("vanilla: alpha = 0.9, temperature = 4", "dkd: beta = 8")


def test_what_the_networks_cost(thesis) -> None:
    world = thesis()
    table = next(table for table in tables(world.index, world.frame) if table.name.startswith("costs"))
    shown = {row[0].text: [cell.shown for cell in row[1:]] for row in table.rows}
    assert [column.full_title for column in table.columns] == [
        *("method", "parameters", "FLOPs", "inference (ms)", "p95 (ms)", "training (s)"),
    ]
    assert shown["teacher"] == ["2.26 M", "81 M", "0.500", "0.750", "12.3"]
    assert shown["vanilla"] == ["2.26 M", "81 M", "0.500", "0.750", "12.3 ± 0.0"]
    assert shown["broken"] == ["failed"] * 5
    assert "95th percentile of one image's forward pass in float32, on NVIDIA H200;" in table.caption
    assert any(line.startswith("vanilla: alpha = ") for line in table.configurations)
    assert not any(cell.bold for row in table.rows for cell in row)


def test_costs_are_never_bold(thesis) -> None:
    (table,) = _metrics(thesis())
    best = next(row for row in table.rows if row[0].text == "dkd")
    assert [cell.bold for cell in best] == [False, True, True, True, True, False]


def test_a_table_a_pair_without_labels_of_other_pairs(world) -> None:
    world.add("a", [0.5], pair=("x", "t", "s"))
    world.add("b", [0.5], pair=("y", "t", "s"))
    assert [(table.name, [row[0].text for row in table.rows]) for table in _metrics(world)] == [
        ("metrics-x-t-s", ["a"]),
        ("metrics-y-t-s", ["b"]),
    ]


def test_a_metric_that_was_not_recorded_is_missing(world) -> None:
    world.add("a", [0.5])
    frame = world.frame.drop(columns="inference_ms")
    (table,) = [table for table in tables(world.index, frame) if table.name.startswith("metrics")]
    assert table.rows[0][5].missing
    assert table.rows[0][4].shown == "47.00"


def test_the_caption_says_how_and_where_inference_was_timed(thesis, world) -> None:
    (table,) = _metrics(thesis())
    assert "median of one image's forward pass in float32, on NVIDIA H200." in table.caption
    world.add("later", [None])
    (table,) = _metrics(world)
    assert "median of one image's forward pass in float32." in table.caption
