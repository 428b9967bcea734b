"""Initial weights that have seen the validation images are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plans import BASE, plan_of
from safetensors.torch import save_file

from kdbench import models
from kdbench.errors import MatrixError
from kdbench.matrix import RunSpec
from kdbench.plan import Plan
from kdbench.results.files import write_checked_json

TASK = {"num_classes": 10, "image_shape": (1, 8, 8)}
EXPERT = {"network": {"expert": {"architecture": "cnn_8_16"}}, "pairs": [{"teacher": "expert", "student": "mlp_16"}]}


def write_run(folder: Path, spec: RunSpec) -> str:
    """Write the folder of a run with random weights."""
    folder.mkdir()
    state = models.build("cnn_8_16", **TASK).state_dict()
    save_file({f"student.{key}": value for key, value in state.items()}, folder / "weights.safetensors")
    write_checked_json(folder / "result.json", {"status": "done"})
    write_checked_json(folder / "spec.json", spec.to_json())
    return str(folder)


def teacher_of(**changes: Any) -> RunSpec:
    (cell, *_) = plan_of(**changes).cells
    return next(iter(cell.runs.values()))


def plan_with(weights: str, **changes: Any) -> Plan:
    table = {"expert": {"architecture": "cnn_8_16", "weights": weights}}
    return plan_of(**{**EXPERT, "network": table, "recipe": {**BASE["recipe"], "teacher": {"epochs": 0}}, **changes})


def assert_accepted(plan: Plan) -> None:
    """Check that the teacher of a plan starts from the weights."""
    (cell, *_) = plan.cells
    assert cell.kind == "teacher"
    assert cell.first.student.has_initial_weights


def test_weights_of_a_run_with_another_split_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", teacher_of(protocol={"split_seed": 1}))
    with pytest.raises(
        MatrixError, match=r"network 'expert': its weights were trained on \d+ validation images"
    ) as one:
        plan_with(folder)
    assert "protocol.validation = 0.1 and split_seed = 0" in str(one.value)
    with pytest.raises(MatrixError, match="validation images of these runs"):
        plan_with(f"{folder}/weights.safetensors")


def test_the_number_of_seen_validation_images_is_exact(tmp_path: Path) -> None:
    recipe = {"epochs": 1, "batch_size": 32, "precision": "fp32"}
    everything = write_run(tmp_path / "run", teacher_of(protocol={"validation": 0.0}, recipe=recipe))
    (count,) = {training.validation_images for training in plan_of(recipe=recipe).trainings.values()}
    assert count > 100
    with pytest.raises(MatrixError, match=f"trained on {count} validation images"):
        plan_with(everything, recipe={**recipe, "teacher": {"epochs": 0}})


def test_weights_of_a_run_with_the_same_split_are_accepted(tmp_path: Path) -> None:
    assert_accepted(plan_with(write_run(tmp_path / "run", teacher_of())))


def test_nothing_is_refused_without_validation_images(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", teacher_of(protocol={"split_seed": 1}))
    assert_accepted(plan_with(folder, protocol={"validation": 0.0}))


def test_weights_of_a_run_on_other_data_are_accepted(tmp_path: Path) -> None:
    spec = teacher_of(protocol={"split_seed": 1})
    assert_accepted(
        plan_with(write_run(tmp_path / "run", replace(spec, dataset=replace(spec.dataset, fingerprint="0" * 16))))
    )


def test_what_the_run_needed_counts_too(tmp_path: Path) -> None:
    own = teacher_of()
    other = replace(teacher_of(protocol={"split_seed": 1}), seed=5)
    with pytest.raises(MatrixError, match="validation images of these runs"):
        plan_with(write_run(tmp_path / "run", replace(own, needs=(("teacher", other),))))


def test_an_unreadable_spec_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", teacher_of())
    (Path(folder) / "spec.json").write_text("{}")
    with pytest.raises(MatrixError, match="give the file of the weights instead of the folder"):
        plan_with(folder)


def test_a_file_outside_a_run_is_accepted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(models.build("cnn_8_16", **TASK).state_dict(), tmp_path / "w.safetensors")
    assert_accepted(plan_with(str(tmp_path / "w.safetensors")))


def test_the_index_states_the_initial_weights_and_the_duplicates(tmp_path: Path) -> None:
    save_file(models.build("cnn_8_16", **TASK).state_dict(), tmp_path / "w.safetensors")
    table = {"expert": {"architecture": "cnn_8_16", "weights": str(tmp_path / "w.safetensors")}}
    plan = plan_of(**{**EXPERT, "network": table})
    found = {cell.kind: plan.index().trainings[cell.training] for cell in plan.index().cells}
    assert found["teacher"].initial_weights == str(tmp_path / "w.safetensors")
    assert found["scratch"].initial_weights == ""
    assert found["scratch"].test_duplicates == 0
    assert (found["scratch"].views, found["scratch"].reads_images) == (1, True)
