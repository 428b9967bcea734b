"""The resolution of a matrix before anything trains: the smallest difference that its seeds and test images can see."""

from collections.abc import Iterator

from kdbench.analysis import MIN_SEEDS, assumed_spread, detectable_difference, seeds_to_detect
from kdbench.formatting import count_of
from kdbench.plan.planner import Plan
from kdbench.plan.training import training_key

ACCURACY = 0.9  # assumed; two runs are assumed to differ in correctness on as many images as either gets wrong
HALF_A_POINT = 0.005


def describe_resolution(plan: Plan) -> Iterator[str]:
    """Yield one line for each data set on which a pair has at least two students."""
    images = {cell.dataset.name: plan.trainings[training_key(cell.first)].test_images for cell in plan.cells}
    for dataset, test_images in images.items():
        students = _count_students(plan, dataset)
        if students > 1:
            yield f"resolution on {dataset}: {describe_design(len(plan.matrix.seeds), students, test_images)}"


def describe_design(seeds: int, students: int, test_images: int) -> str:
    """Return what a design with this many seeds, students of a pair, and test images can see, with the assumption."""
    spread = assumed_spread(test_images, 1 - ACCURACY)
    seen = 100 * detectable_difference(spread, max(seeds, MIN_SEEDS), students, test_images)
    needed = seeds_to_detect(HALF_A_POINT, spread, students, test_images)
    planned = count_of(seeds, "seed")
    able = planned if seeds >= MIN_SEEDS else f"{planned}, so nothing is tested; {MIN_SEEDS} seeds"
    return (
        f"{able} and {test_images:,} test images see a difference of {seen:.2f} points between two of {students} "
        f"students with 80 % power; half a point needs {f'{needed} seeds' if needed else 'more test images'} "
        f"(assumed: {100 * ACCURACY:.0f} % accuracy; two runs differ in correctness on {100 * (1 - ACCURACY):.0f} % of "
        "the test images)"
    )


def _count_students(plan: Plan, dataset: str) -> int:
    """Return the largest number of rows that a table compares on a pair: without validation a row a configuration."""
    has_choice = plan.matrix.protocol.validation > 0
    rows: dict[object, set[object]] = {}
    for number, cell in enumerate(plan.choose_first().cells):
        if cell.dataset.name == dataset and cell.kind != "teacher" and cell.phase == "report":
            is_row = cell.kind == "scratch" or has_choice
            rows.setdefault(cell.pair, set()).add((cell.kind, cell.label) if is_row else number)
    return max(map(len, rows.values()), default=0)
