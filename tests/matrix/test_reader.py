from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.errors import MatrixError
from kdbench.matrix import load, parse

MINIMAL = 'datasets = ["digits"]\npairs = [{ teacher = "large", student = "small" }]\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str | bytes, name: str = "thesis.toml") -> Path:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return make


def error_of(file: Path) -> str:
    """The text of the error, with the file's name without its folder."""
    with pytest.raises(MatrixError) as caught:
        load(file)
    return str(caught.value).replace(f"{file.parent}/", "").replace(str(file.parent), ".")


def test_a_minimal_file_has_its_name_and_all_defaults(write: Write) -> None:
    file = write(MINIMAL)
    read = load(str(file))
    assert (read.name, read.file, read.seeds, read.datasets) == ("thesis", str(file), (0,), ("digits",))
    assert (read.pairs[0].teacher, read.pairs[0].student, read.pairs[0].peers) == ("large", "small", ())
    assert (read.protocol.validation, read.protocol.teacher_seed, read.run.devices) == (0.1, 0, "auto")
    assert (dict(read.methods), dict(read.recipe), read.exclude, read.override) == ({}, {}, (), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [0\nname = 3\n", "thesis.toml: not valid TOML: Unclosed array (at line 2, column 1)"),
        ("a = 1\na = 2\n", "thesis.toml: not valid TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("a = 2026-02-30\n", "thesis.toml: not valid TOML: Invalid date or datetime (at line 1, column 5)"),
        (b"name = '\xff'", "thesis.toml: must be UTF-8, got byte 0xff"),
        (f"{MINIMAL}extends = 3", "thesis.toml: extends: must be the path of a TOML file, got 3"),
        ("", "thesis.toml: datasets: this key is required"),
        (
            f"{MINIMAL}[run]\ndevices = 2026-01-01",
            "thesis.toml: run.devices: must be text, a number, true, false, a list or a table, got the date 2026-01-01",
        ),
        (f"{MINIMAL}[recipe]\nlr = inf", "thesis.toml: recipe.lr: must be a finite number, got inf"),
        (
            f"a = {'[' * 40}{']' * 40}",
            "thesis.toml: a[0][0]...: tables and lists must not be nested deeper than 32 levels",
        ),
        (f"{'a.' * 2000}a = 1", "thesis.toml: a.a.a...: tables and lists must not be nested deeper than 32 levels"),
        (f"a = {'[' * 9000}{']' * 9000}", "thesis.toml: tables and lists must not be nested deeper than 32 levels"),
        (
            f"{MINIMAL}seeds = [0x{'f' * 5000}]",
            "thesis.toml: seeds[0]: must be an integer of at most 64 bits, got 20001 bits",
        ),
    ],
)
def test_a_file_that_is_not_a_matrix(write: Write, text: str | bytes, message: str) -> None:
    assert error_of(write(text)) == message


def test_an_integer_of_thousands_of_digits(write: Write) -> None:
    assert error_of(write(f"seeds = [{'9' * 5000}]")).startswith("thesis.toml: cannot be read: Exceeds the limit")


def test_a_missing_file(tmp_path: Path) -> None:
    remedy = "file not found; `kdbench init none.toml` writes a commented example"
    assert error_of(tmp_path / "none.toml") == f"none.toml: {remedy}"


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.toml").mkdir()
    assert error_of(tmp_path / "m.toml") == "m.toml: cannot be read: Is a directory"


def test_a_file_name_that_is_not_a_matrix_name(write: Write) -> None:
    rule = "must have letters, digits, '.', '_' and '-' only, and start with a letter or digit"
    assert error_of(write(MINIMAL, "my thesis.toml")) == f"my thesis.toml: name: {rule}, got 'my thesis'"


BASE = """
name = "base"
seeds = [0, 1, 2]
datasets = ["digits"]
pairs = [{ teacher = "large", student = "small" }]
[recipe]
epochs = 5
augment = ["crop", "flip"]
optimizer = { name = "sgd", lr = 0.2, momentum = 0.5 }
schedule = "cosine"
[methods.vanilla]
alpha = [0.1, 0.5]
temperature = 2
"""


def test_extends_merges_tables_and_replaces_arrays(write: Write) -> None:
    write(BASE, "base.toml")
    read = load(
        write(
            'extends = "base.toml"\nseeds = [7]\n[recipe]\naugment = ["translate"]\noptimizer = { lr = 0.3 }\n'
            "schedule = { warmup = 1.0 }\n[methods.vanilla]\ntemperature = [3]\n[methods.triplet]\n"
        )
    )
    assert (read.name, read.seeds, read.datasets) == ("thesis", (7,), ("digits",))
    assert read.recipe == {
        "epochs": 5,
        "augment": ["translate"],
        "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.5},
        "schedule": {"name": "cosine", "warmup": 1.0},
    }
    assert read.methods == {"vanilla": {"alpha": [0.1, 0.5], "temperature": [3]}, "triplet": {}}


def test_extends_replaces_a_table_with_another_name(write: Write) -> None:
    write(BASE, "base.toml")
    read = load(write('extends = "base.toml"\n[recipe]\noptimizer = { name = "adam", lr = 1e-4 }\n'))
    assert read.recipe["optimizer"] == {"name": "adam", "lr": 1e-4}


def test_extends_is_relative_to_its_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(BASE, "base.toml")
    assert load(write('extends = "../base.toml"', "deep/m.toml")).seeds == (0, 1, 2)


def test_extends_one_level_only(write: Write) -> None:
    write(BASE, "base.toml")
    write('extends = "base.toml"', "middle.toml")
    message = (
        "thesis.toml: extends: middle.toml extends another file too, but only one level is allowed; "
        "merge the two base files"
    )
    assert error_of(write('extends = "middle.toml"')) == message
    assert error_of(write('extends = "thesis.toml"')) == message.replace("middle.toml", "thesis.toml")


def test_errors_in_a_base_name_the_base(write: Write) -> None:
    missing = "none.toml: file not found; `kdbench init none.toml` writes a commented example"
    assert error_of(write('extends = "none.toml"')) == missing
    assert error_of(write('extends = ""')) == ".: cannot be read: Is a directory"
    assert "null" in error_of(write('extends = "a\\u0000b"'))
    write("[a]\nb = nan", "base.toml")
    assert error_of(write('extends = "base.toml"')) == "base.toml: a.b: must be a finite number, got nan"


def test_extends_and_file_are_not_keys_of_plain_data() -> None:
    plain = {"name": "m", "datasets": ["digits"], "pairs": [{"teacher": "a", "student": "b"}]}
    with pytest.raises(MatrixError, match=r"^m\.toml: extends: unknown key; "):
        parse({**plain, "extends": "base.toml"}, "m.toml")
    with pytest.raises(MatrixError, match=r"^m\.toml: file: unknown key; valid: dataset, datasets, exclude, methods,"):
        parse({**plain, "file": "other.toml"}, "m.toml")
