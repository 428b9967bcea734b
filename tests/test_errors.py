import pytest

from kdbench import errors


@pytest.mark.parametrize(
    ("name", "valid", "remedy"),
    [
        ("vanila", ["vanilla", "scratch"], "did you mean 'vanilla'?"),
        ("xyz", ["vanilla", "scratch"], "valid: scratch, vanilla"),
        ("xyz", [], "there is none"),
    ],
)
def test_nearest_names_the_closest_or_all(name: str, valid: list[str], remedy: str) -> None:
    assert errors.did_you_mean(name, valid) == remedy


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {word for word in (errors.__doc__ or "").replace("├──", " ").split() if word.endswith("Error")}
    there = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert drawn == there
    assert all(issubclass(getattr(errors, name), errors.KdbenchError) for name in there)
    assert issubclass(errors.NotFiniteError, errors.TrainingError)


def test_the_error_of_a_matrix_is_one_legible_line() -> None:
    told = str(errors.MatrixError("key \x1b[31m\n" + "x" * 5000 + " remedy"))
    assert told.startswith("key \\x1b[31m\\nxxx")
    assert told.endswith("xxx remedy")
    assert " ... " in told
    assert len(told) <= 800
