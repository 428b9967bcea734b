"""The costs table: what the seconds of a row are the seconds of."""

import json
from typing import Any

from kdbench.reporting import Table, build_tables


def costs(builder: Any) -> Table:
    return next(table for table in build_tables(builder.index, builder.frame) if table.name.startswith("costs"))


def shown(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.display for cell in row[1:]] for row in table.rows}


def training(table: Table) -> dict[str, str]:
    return {name: cells[-1] for name, cells in shown(table).items()}


def test_costs_of_the_networks(thesis: Any) -> None:
    table = costs(thesis())
    assert [column.full_title for column in table.columns] == [
        *("method", "parameters", "FLOPs", "inference (ms)", "p95 (ms)", "training (s), alone"),
    ]
    assert shown(table)["teacher"] == ["2.26 M", "81 M", "0.500", "0.750", "12.34"]
    assert shown(table)["vanilla"] == ["2.26 M", "81 M", "0.500", "0.750", "12.34 ± 0.00"]
    assert shown(table)["broken"] == ["3 of 3 diverged"] * 5
    assert any(line.startswith("vanilla: alpha = ") for line in table.configurations)
    assert not any(cell.is_bold for row in table.rows for cell in row)


def test_the_caption_says_what_was_measured_where(thesis: Any) -> None:
    caption = costs(thesis()).caption
    assert "one image's forward pass of the architecture with random weights (NVIDIA H200 with AMD EPYC" in caption
    assert (
        "alone, mean ± sample standard deviation over seeds (NVIDIA H200, 1 CPU thread, bf16, torch 2.15.0)" in caption
    )
    assert "except the teacher of its row, whose training time is in the teacher's own row" in caption


def generations(builder: Any, seeds: int = 2, status: str = "done") -> None:
    """Add a teacher, and a born-again network of three generations of which the last one is the row's."""
    teacher = builder.add("teacher", [0.9], kind="teacher", train_seconds=100.0).runs["0"]
    cell = {"teachers": {str(seed): teacher for seed in range(seeds)}}
    needs = {}
    made = builder.add("born", [0.5] * seeds, cell=cell, train_seconds=4.0)
    for seed in range(seeds):
        first, second = (f"generation-{number}-{seed}" for number in (1, 2))
        needs |= {made.runs[str(seed)]: [second], second: [first, "helper"], first: [teacher, "helper"]}
        builder.rows += [
            {"run_id": first, "status": status, "train_seconds": 1.0, "processor": "NVIDIA H200"},
            {"run_id": second, "status": "done", "train_seconds": 2.0 + seed, "processor": "NVIDIA H200"},
        ]
        builder.needed += [first, second]
    builder.rows.append({"run_id": "helper", "status": "done", "train_seconds": 0.5, "processor": "NVIDIA H200"})
    builder.needed.append("helper")
    for row in builder.rows:
        row["needs"] = json.dumps({f"role{n}": need for n, need in enumerate(needs.get(row["run_id"], []))})


def test_needed_runs_are_included_once_and_the_teacher_is_not(builder: Any) -> None:
    """The last generation, the two before it, and a run that both of those need."""
    generations(builder)
    table = costs(builder)
    assert training(table) == {"teacher": "100.00", "born": "8.00 ± 0.71"}  # 4 + 2 + 1 + 0.5, and 4 + 3 + 1 + 0.5
    assert "3 further networks trained first, for each seed" in table.rows[-1][0].footnotes


def test_without_the_time_of_a_needed_run_there_is_no_number(builder: Any) -> None:
    generations(builder, status="pending")
    assert training(costs(builder))["born"] == ""


def test_another_teacher_of_a_method_is_not_part_of_its_time(builder: Any) -> None:
    own = builder.add("teacher of a", [0.9], kind="teacher", train_seconds=70.0).runs["0"]
    builder.add("a", [0.5], cell={"teachers": {"0": own}}, needs=json.dumps({"teacher": own}), train_seconds=3.0)
    assert training(costs(builder)) == {"teacher of a": "70.00", "a": "3.00"}


def test_a_need_that_is_not_the_rows_teacher_is_part_of_its_time(builder: Any) -> None:
    """Such as a second teacher."""
    teacher, second = (builder.add(n, [0.9], kind="teacher", train_seconds=70.0).runs["0"] for n in ("teacher", "b"))
    needs = json.dumps({"teacher": teacher, "teachers.1": second})
    builder.add("a", [0.5], cell={"teachers": {"0": teacher}}, needs=needs, train_seconds=3.0)
    assert training(costs(builder))["a"] == "73.00"


def test_rows_that_were_trained_elsewhere_are_named(builder: Any) -> None:
    builder.add("a", [0.5])
    builder.add("b", [0.5], torch_version="2.7.1")
    builder.add("c", [0.5], compile=True)
    table = costs(builder)
    assert "see the notes" in table.caption
    assert "Training of a: NVIDIA H200, 1 CPU thread, bf16, torch 2.15.0." in table.notes
    assert "Training of b: NVIDIA H200, 1 CPU thread, bf16, torch 2.7.1." in table.notes
    assert (
        "Training of c: NVIDIA H200, 1 CPU thread, bf16, torch 2.15.0, torch.compile (compilation included)."
        in table.notes
    )


def test_a_needed_run_that_was_trained_elsewhere_is_noted(builder: Any) -> None:
    builder.rows.append({"run_id": "first", "status": "done", "train_seconds": 1.0, "processor": "NVIDIA H100"})
    builder.needed.append("first")
    builder.add("a", [0.5], needs=json.dumps({"teacher": "first"}))
    assert "Training of a: NVIDIA H100." in costs(builder).notes


def test_runs_that_overlapped_on_a_gpu_are_noted(builder: Any) -> None:
    builder.add("alone", [0.5], cuda_graphs=True, cohort_size=1)
    builder.add("beside", [0.5], cuda_graphs=True, cohort_size=2)
    (note,) = [note for note in costs(builder).notes if "upper bound" in note]
    assert note.startswith("Training of beside: measured while other runs trained on the same GPU")


def test_a_teacher_that_was_trained_elsewhere_is_noted(builder: Any) -> None:
    builder.add("teacher", [0.9], kind="teacher", epochs_run=0, train_seconds=0.0)
    builder.add("a", [0.5], epochs_run=3)
    (note,) = [note for note in costs(builder).notes if "0 epochs" in note]
    assert note.startswith("Training of teacher: 0 epochs here")
