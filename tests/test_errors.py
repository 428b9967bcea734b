"""The exception tree and the texts that errors share."""

import pytest

from kdbench import errors


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("vanila", ["vanilla", "scratch"], "did you mean 'vanilla'?"),
        ("xyz", ["vanilla", "scratch"], "valid: scratch, vanilla"),
        ("xyz", [], "valid: none"),
    ],
)
def test_did_you_mean_gives_the_most_similar_name_or_all(name: str, valid: list[str], hint: str) -> None:
    assert errors.did_you_mean(name, valid) == hint


def test_the_docstring_draws_the_exception_tree() -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if "Error" in line]
    parents: list[str] = []
    drawn = {}
    for line in lines:
        name = next(word for word in line.split() if word.endswith("Error"))
        depth = line.index(name) // 4
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else "Exception"
    classes = {
        name: value for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")
    }
    assert drawn == {name: value.__base__.__name__ for name, value in classes.items()}


def test_a_matrix_error_is_one_printable_line() -> None:
    message = str(errors.MatrixError("key \x1b[31m\n" + "x" * 5000 + " what to do"))
    assert message.startswith("key \\x1b[31m\\nxxx")
    assert message.endswith("xxx what to do")
    assert " ... " in message
    assert len(message) <= 800


def test_lines_are_made_printable_one_by_one() -> None:
    assert errors.printable_lines("a\tb\nc\x07") == "a\\tb\nc\\x07"
