"""The checkpoint file is either complete or recognized as corrupted."""

import errno
import os
import re

import pytest

from kdbench.errors import StorageError
from kdbench.results import checkpoints

MADE_WITH = {"torch": "2", "threads": 1}
NEWEST, PREVIOUS = checkpoints.NAMES


def contents(folder):
    return [(path.name, head and head.epoch, content) for path, head, content in checkpoints.read(folder)]


def test_the_previous_checkpoint_is_kept(tmp_path):
    for epoch, content in ((1, b"one"), (2, b"two\nlines"), (3, b"")):
        checkpoints.write(tmp_path, epoch, content, MADE_WITH)
    assert contents(tmp_path) == [(NEWEST, 3, b""), (PREVIOUS, 2, b"two\nlines")]
    assert checkpoints.next_epoch(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(checkpoints.NAMES)


def test_a_checkpoint_has_versions_and_options(tmp_path):
    checkpoints.write(tmp_path, 1, b"one", MADE_WITH)
    ((_, head, _),) = checkpoints.read(tmp_path)
    assert head.made_with == MADE_WITH


def test_without_a_checkpoint_a_run_starts_from_the_first_epoch(tmp_path):
    assert contents(tmp_path) == []
    assert checkpoints.next_epoch(tmp_path) == 0
    assert checkpoints.next_epoch(tmp_path / "none") == 0


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda file: file[:-1],
        lambda file: file[:10],
        lambda file: b"",
        lambda file: b"[1]\n" + file,
        lambda file: file.replace(b'"format": 2', b'"format": 9'),
        lambda file: b"\x00\xff" * 100,
        lambda file: file[:-1] + b"X",
        lambda file: b"[" * 4000 + b"\n" + file,
        lambda file: file.replace(b'"epoch": 2', b'"epoch": -2'),
        lambda file: file.replace(b'"epoch": 2', b'"epoch": 1e999'),
        lambda file: re.sub(rb'"bytes": (\d+)', rb'"bytes": "a"', file),
        lambda file: re.sub(rb'"made_with": {.*?}', rb'"made_with": 7', file),
    ],
)
def test_a_corrupted_checkpoint_has_no_header(tmp_path, corrupt):
    for epoch, content in ((1, b"first content"), (2, b"second content")):
        checkpoints.write(tmp_path, epoch, content, MADE_WITH)
    newest = tmp_path / NEWEST
    newest.write_bytes(corrupt(newest.read_bytes()))
    assert contents(tmp_path) == [(NEWEST, None, b""), (PREVIOUS, 1, b"first content")]


def test_an_unreadable_checkpoint_has_no_header(tmp_path, monkeypatch):
    for epoch in (1, 2):
        checkpoints.write(tmp_path, epoch, b"content", MADE_WITH)
    read_content = checkpoints._read_content

    def failing(path):
        if path.name == NEWEST:
            raise OSError(errno.EIO, "Input/output error")
        return read_content(path)

    monkeypatch.setattr(checkpoints, "_read_content", failing)
    assert contents(tmp_path) == [(NEWEST, None, b""), (PREVIOUS, 1, b"content")]


def test_a_truncated_checkpoint_is_skipped_by_next_epoch(tmp_path):
    for epoch in (1, 2):
        checkpoints.write(tmp_path, epoch, b"content", MADE_WITH)
    newest = tmp_path / NEWEST
    newest.write_bytes(newest.read_bytes()[:-1])
    assert checkpoints.next_epoch(tmp_path) == 1


def test_a_truncated_checkpoint_does_not_replace_the_previous_one(tmp_path):
    for epoch in (1, 2):
        checkpoints.write(tmp_path, epoch, b"content", MADE_WITH)
    newest = tmp_path / NEWEST
    newest.write_bytes(newest.read_bytes()[:-1])
    checkpoints.write(tmp_path, 2, b"again", MADE_WITH)
    assert contents(tmp_path) == [(NEWEST, 2, b"again"), (PREVIOUS, 1, b"content")]


def test_checkpoints_are_removed(tmp_path):
    for epoch in (1, 2):
        checkpoints.write(tmp_path, epoch, b"content", MADE_WITH)
    checkpoints.remove(tmp_path)
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        checkpoints.write(tmp_path / "file", 1, b"", MADE_WITH)


def test_a_fifo_in_place_of_a_checkpoint_is_skipped(tmp_path):
    checkpoints.write(tmp_path, 1, b"content", MADE_WITH)
    (tmp_path / NEWEST).replace(tmp_path / PREVIOUS)
    os.mkfifo(tmp_path / NEWEST)
    assert checkpoints.next_epoch(tmp_path) == 1
    assert contents(tmp_path) == [(NEWEST, None, b""), (PREVIOUS, 1, b"content")]
