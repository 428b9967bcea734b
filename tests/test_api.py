"""What notebooks rely on: the names at the package's top, and that they load only when they are named."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kdbench

QUICKSTART = Path(__file__).parent.parent / "matrices" / "quickstart.toml"


def test_importing_kdbench_and_reading_a_matrix_loads_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, kdbench\n"
        f"assert kdbench.load_matrix({str(QUICKSTART)!r}).name == 'quickstart'\n"
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_exported_name_is_there() -> None:
    assert all(getattr(kdbench, name) is not None for name in kdbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdbench.nothing


def test_runs_of_the_quickstart_come_teachers_first() -> None:
    runs = kdbench.load_matrix(QUICKSTART).runs()
    assert len(runs) == len({run.id for run in runs}) == 1 + 3 * (1 + 6)
    assert runs[0].student.name == "cnn_32_64_fc128"
    assert [run.seed for run in runs[1:]] == sorted(run.seed for run in runs[1:])
    assert all(run.teacher is None or run.teacher.id == runs[0].id for run in runs)


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
