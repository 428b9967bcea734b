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
Write = Callable[[dict[str, Any]], Path]


def fresh_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True, env=os.environ
    ).stdout.strip()


def test_a_warm_cache_is_read_without_torch_and_sklearn() -> None:
    expected = data.load(DIGITS)
    printed = fresh_python("""
        import sys
        from kdbench import data
        spec = data.DataSpec("digits", "digits")
        print(data.fingerprint(spec), data.load(spec).train_images.sum(), {"torch", "sklearn"} & set(sys.modules))
    """)
    assert printed == f"{expected.fingerprint} {expected.train_images.sum()} set()"


def test_the_fingerprint_is_that_of_the_content() -> None:
    cold = data.fingerprint(DIGITS)
    assert cold == data.fingerprint(DIGITS) == data.load(DIGITS).fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", cold)
    assert data.fingerprint(DataSpec("digits", "digits", {"samples": 100})) != cold
    assert data.fingerprint(DataSpec("another name", "digits", {"samples": None})) == cold


def test_the_common_options_hold_for_every_kind(arrays: dict[str, Any], write: Write) -> None:
    for spec in (DIGITS, DataSpec("mine", "npz", {"root": str(write(arrays))})):
        options = {**spec.options, "samples": 12, "resize": 5, "grayscale": True}
        found = data.load(DataSpec(spec.name, spec.kind, options))
        assert found.train_images.shape == (12, 1, 5, 5)
        assert found.image_shape == (1, 5, 5)
        assert len(found.test_images) == len(data.load(spec).test_images)
        assert set(np.bincount(found.train_labels)) <= {1, 2, 4}


def test_a_changed_file_is_read_again(arrays: dict[str, Any], write: Write) -> None:
    spec = DataSpec("mine", "npz", {"root": str(write(arrays))})
    before = data.load(spec)
    arrays["train_images"] = 255 - arrays["train_images"]
    write(arrays)
    after = data.load(spec)
    assert np.array_equal(after.train_images, 255 - before.train_images)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("digit", {}, "data set 'mine' is of no known kind: 'digit'; did you mean 'digits'?"),
        ("digits", {"sample": 3}, "data set 'mine' has no option 'sample'; did you mean 'samples'?"),
        ("digits", {"samples": 0}, "the option samples must be greater than or equal to 1, got 0"),
        ("digits", {"grayscale": "yes"}, "the option grayscale must be a valid boolean, got 'yes'"),
        ("npz", {}, "data set 'mine' needs the option 'root': an .npz file with train_images"),
        ("npz", {"root": "absent.npz"}, "absent.npz does not exist; 'root' must name an .npz file with train_images"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before(kind: str, options: dict[str, Any], message: str) -> None:
    for refusing in (data.check, data.load, data.fingerprint):
        with pytest.raises(DataError, match=re.escape(message)):
            refusing(DataSpec("mine", kind, options))


def test_more_samples_than_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"^samples is 5000, but there are 1437 training images"):
        data.load(DataSpec("digits", "digits", {"samples": 5000}))


def test_check_reads_no_image(cache_folder: Path) -> None:
    data.check(DIGITS)
    assert not cache_folder.exists()


def test_the_catalog_names_every_kind_and_its_source() -> None:
    assert [kind.name for kind in data.catalog()] == list(data.DATASETS)
    assert all(kind.description and kind.source for kind in data.catalog())
