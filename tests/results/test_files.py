import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import ResultsError, StorageError
from kdbench.results.files import read_json, write_atomic, write_json

REMEDY = (
    "choose another results folder with --results, or free space there and rerun the command; finished runs are kept"
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_atomically(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append(names(tmp_path))

    path = tmp_path / "result"
    write_atomic(path, write)
    path.write_text("old")
    write_atomic(path, write)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result"]
    assert [len(found) for found in seen] == [1, 2]


def test_the_folder_is_created(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "file", lambda path: path.write_text("x"))
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"


def half(then: Exception) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("hal")
        raise then

    return write


def test_a_writer_that_raises_leaves_the_old_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "result"
    for _ in range(2):
        with pytest.raises(KeyError, match="broken"):
            write_atomic(path, half(KeyError("broken")))
        assert not path.exists() or path.read_text() == "old"
        path.write_text("old")
    assert names(tmp_path) == ["result"]


def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "result", half(OSError(28, "No space left on device")))
    assert str(caught.value) == f"{tmp_path}: cannot be written (No space left on device); {REMEDY}"
    assert names(tmp_path) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(StorageError, match=r"results: cannot be written \((File exists|Not a directory)\); choose"):
        write_atomic(tmp_path / "results" / "file", lambda path: path.write_text("x"))
    with pytest.raises(StorageError, match=r"runs: cannot be written \(Not a directory\); choose"):
        write_atomic(tmp_path / "results" / "runs" / "file", lambda path: path.write_text("x"))


def test_a_directory_in_place_of_the_file_is_kept_under_another_name(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "file").touch()
        write_json(tmp_path / "result", {})
        assert (tmp_path / f"result.replaced-{number}" / "file").exists()
        assert read_json(tmp_path / "result") == {}
        (tmp_path / "result").unlink()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_json_round_trip(data: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_json(path, data)
    assert read_json(path) == data


def test_values_outside_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"x": Path()})
    assert names(tmp_path) == []


def test_json_is_indented(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "é"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "name": "é"\n}\n'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"status": "do', "Unterminated string starting at: line 1 column 12 (char 11)"),
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[1]", "must be a JSON object, got list"),
        (b"null", "must be a JSON object, got NoneType"),
        (b"[" * 100_000, "is nested deeper than 200 levels"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "is nested deeper than 200 levels"),
        (b'{"a": [0.5, NaN]}', "numbers must be finite, got NaN"),
        (b'{"a": -1e999}', "numbers must be finite, got -1e999"),
        (b'{"a": ' + b"9" * 301 + b"}", "an integer has 301 digits, at most 300 are allowed"),
    ],
)
def test_corrupted_json(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError) as caught:
        read_json(path)
    assert str(caught.value) == f"{path}: corrupted ({why}); run `kdbench reindex --deep`, then run the matrix again"


def test_json_that_is_missing_or_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        read_json(tmp_path / "none.json")
    with pytest.raises(ResultsError, match=r": corrupted \(is a directory, not a regular file\); run `kdbench reindex"):
        read_json(tmp_path)
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(ResultsError, match=r"a\.json: cannot be read \(Not a directory\)$"):
        read_json(tmp_path / "file" / "a.json")


def test_text_that_cannot_be_encoded_is_corrupted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": "\\ud83d\\ude00"}')
    assert read_json(path) == {"a": "\U0001f600"}
    path.write_text('{"a": "\\ud83d"}')
    with pytest.raises(ResultsError, match=r"corrupted \('utf-8' codec can't encode character"):
        read_json(path)


def test_the_largest_depth_and_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a":' * 200 + "1" + "}" * 200)
    assert read_json(path)
    with pytest.raises(ResultsError, match=r"has 1\.2 kB, at most 100 bytes are read"):
        read_json(path, max_bytes=100)


def test_the_path_of_a_corrupted_file_is_printed_as_codes(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[31m.json"
    path.write_text("{")
    with pytest.raises(ResultsError) as caught:
        read_json(path)
    assert f"{tmp_path}/a\\n\\x1b[31m.json: corrupted (" in str(caught.value)
