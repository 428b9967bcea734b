"""The protocol of a matrix in a few lines: what the networks are trained on and how, and the seeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.row_notes import SWEPT_RECIPE
from kdbench.reporting.rows import Row, find_baseline, find_teacher
from kdbench.reporting.training_text import describe_recipe
from kdbench.results.index import IndexCell, MatrixIndex, Training

PairTrainings = dict[Pair, Training]


def head_lines(results: MatrixResults, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the images, the recipes of students and teacher, and the seeds, for the head of a report."""
    students, teachers = _students(results, rows, results.pairs), _teachers(results, rows, results.pairs)
    return (
        *_lines("Images", students or teachers, _describe_images),
        *_lines("Students", students, lambda training: describe_recipe(training.recipe)),
        *_searched_lines(rows),
        *_lines("Teacher", teachers, lambda training: _describe_teacher(training, students)),
        describe_seeds(results.index),
    )


def protocol_lines(results: MatrixResults, rows: Sequence[Row], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the images, the recipe of the student from scratch, and the seeds, for a table that stands alone.

    The footnotes of the table say where a row, such as the teacher, differs from this student.
    """
    students = _students(results, rows, pairs) or _teachers(results, rows, pairs)
    return (
        *_lines("Images", students, _describe_images),
        *_lines("Recipe", students, lambda training: describe_recipe(training.recipe)),
        *_searched_lines(rows),
        describe_seeds(results.index),
    )


def describe_seeds(index: MatrixIndex) -> str:
    """Return all seeds, and whether the reported runs trained on the validation images."""
    split, teacher = (_describe_seed(seed) for seed in (index.split_seed, index.teacher_seed))
    parts = [
        f"Seeds: {_join(index.seeds)}" if index.seeds else "",
        f"search seeds: {_join(index.search_seeds)}" if index.search_seeds else "",
        f"split seed: {split}",
        f"teacher seed: {teacher}",
    ]
    refit = " What is reported was trained on training and validation images (refit)."
    return f"{'; '.join(part for part in parts if part)}.{refit if index.refit else ''}"


def _searched_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield which values of the recipe are searched, if any: the recipe has those of the student from scratch."""
    shown = [choice.chosen for row in rows for choice in row.choices.values() if choice.chosen is not None]
    names = [name for cell in shown for name in cell.hyperparameters if name.startswith(SWEPT_RECIPE)]
    if names:
        searched = ", ".join(name.removeprefix(SWEPT_RECIPE) for name in dict.fromkeys(names))
        yield f"Searched in the recipe: {searched}; the hyperparameters list the value of each row."


def _students(results: MatrixResults, rows: Sequence[Row], pairs: Iterable[Pair]) -> PairTrainings:
    return _trainings(results, pairs, lambda pair: find_baseline(rows, pair).chosen)


def _teachers(results: MatrixResults, rows: Sequence[Row], pairs: Iterable[Pair]) -> PairTrainings:
    return _trainings(results, pairs, lambda pair: find_teacher(rows, pair))


def _trainings(
    results: MatrixResults, pairs: Iterable[Pair], find: Callable[[Pair], IndexCell | None]
) -> PairTrainings:
    found = {pair: results.training(find(pair)) for pair in pairs}
    return {pair: training for pair, training in found.items() if training is not None}


def _lines(title: str, trainings: PairTrainings, describe: Callable[[Training], str]) -> Iterator[str]:
    """Yield one line, or one per text with the data sets or pairs that have it."""
    pairs_by_text: dict[str, list[Pair]] = {}
    for pair, training in trainings.items():
        pairs_by_text.setdefault(describe(training), []).append(pair)
    for text, pairs in pairs_by_text.items():
        where = "" if len(pairs_by_text) == 1 else f" ({_describe_pairs(pairs, trainings)})"
        yield f"{title}{where}: {text}."


def _describe_pairs(pairs: Sequence[Pair], all_pairs: Iterable[Pair]) -> str:
    """Return the names of the data sets if these are all their pairs, and the pairs otherwise."""
    datasets = dict.fromkeys(pair.dataset for pair in pairs)
    is_whole = {pair for pair in all_pairs if pair.dataset in datasets} == set(pairs)
    return ", ".join(datasets) if is_whole else "; ".join(map(str, pairs))


def _describe_images(training: Training) -> str:
    text = (
        f"{training.train_images:,} of {training.available_images:,} to train on, "
        f"{training.validation_images:,} for validation, {training.test_images:,} for the test"
    )
    if not training.test_duplicates:
        return text
    return f"{text}; also among the training images: {training.test_duplicates:,} of the test images"


def _describe_teacher(training: Training, students: PairTrainings) -> str:
    """Return its recipe, with the number of images if it is not that of the students."""
    others = {student.train_images for student in students.values()}
    images = "" if others <= {training.train_images} else f"{training.train_images:,} images, "
    return f"{images}{describe_recipe(training.recipe)}"


def _describe_seed(seed: int | str) -> str:
    return "the seed of each run" if seed == "paired" else str(seed)


def _join(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
