import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdbench import data
from kdbench.data import DataSpec
from kdbench.errors import DataError

DIGITS = DataSpec("digits", "digits")
WriteNpz = Callable[[dict[str, Any]], Path]


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True, env=os.environ
    ).stdout.strip()


def test_a_cached_data_set_is_read_without_torch_and_sklearn() -> None:
    expected = data.load(DIGITS)
    printed = run_python("""
        import sys
        from kdbench import data
        spec = data.DataSpec("digits", "digits")
        print(data.get_fingerprint(spec), data.load(spec).train_images.sum(), {"torch", "sklearn"} & set(sys.modules))
    """)
    assert printed == f"{expected.fingerprint} {expected.train_images.sum()} set()"


def test_the_fingerprint_depends_on_the_content_only() -> None:
    cold = data.get_fingerprint(DIGITS)
    assert cold == data.get_fingerprint(DIGITS) == data.load(DIGITS).fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", cold)
    assert data.get_fingerprint(DataSpec("digits", "digits", {"samples": 100})) != cold
    assert data.get_fingerprint(DataSpec("another name", "digits", {"samples": None})) == cold


def test_common_options_apply_to_every_kind(arrays: dict[str, Any], write_npz: WriteNpz) -> None:
    for spec in (DIGITS, DataSpec("mine", "npz", {"root": str(write_npz(arrays))})):
        options = {**spec.options, "samples": 12, "resize": 5, "grayscale": True}
        found = data.load(DataSpec(spec.name, spec.kind, options))
        assert found.train_images.shape == (12, 1, 5, 5)
        assert found.image_shape == (1, 5, 5)
        assert len(found.test_images) == len(data.load(spec).test_images)
        assert set(np.bincount(found.train_labels)) <= {1, 2, 4}


def test_a_changed_file_is_read_again(arrays: dict[str, Any], write_npz: WriteNpz) -> None:
    spec = DataSpec("mine", "npz", {"root": str(write_npz(arrays))})
    before = data.load(spec)
    arrays["train_images"] = 255 - arrays["train_images"]
    write_npz(arrays)
    after = data.load(spec)
    assert np.array_equal(after.train_images, 255 - before.train_images)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("digit", {}, "data set 'mine': unknown kind 'digit'; did you mean 'digits'?"),
        ("digits", {"sample": 3}, "data set 'mine': unknown option 'sample'; did you mean 'samples'?"),
        ("digits", {"samples": 0}, "the option samples must be greater than or equal to 1, got 0"),
        ("digits", {"grayscale": "yes"}, "the option grayscale must be a valid boolean, got 'yes'"),
        ("npz", {}, "data set 'mine' requires the option 'root': an .npz file with train_images"),
        ("npz", {"root": "absent.npz"}, "absent.npz does not exist; 'root' must name an .npz file with train_images"),
    ],
)
def test_invalid_specs_raise_before_loading(kind: str, options: dict[str, Any], message: str) -> None:
    for function in (data.check, data.load, data.get_fingerprint):
        with pytest.raises(DataError, match=re.escape(message)):
            function(DataSpec("mine", kind, options))


def test_more_samples_than_images_raise() -> None:
    with pytest.raises(DataError, match=r"^samples is 5000, but there are 1437 training images"):
        data.load(DataSpec("digits", "digits", {"samples": 5000}))


def test_check_reads_no_image(cache_folder: Path) -> None:
    data.check(DIGITS)
    assert not cache_folder.exists()


def test_every_kind_has_its_name_a_description_and_a_source() -> None:
    assert [kind.name for kind in data.DATASETS.values()] == list(data.DATASETS)
    assert all(kind.description and kind.source for kind in data.DATASETS.values())
    assert all(kind.layout for kind in data.DATASETS.values() if "root" in kind.options)
    assert all(list(kind.options)[-3:] == ["samples", "resize", "grayscale"] for kind in data.DATASETS.values())
