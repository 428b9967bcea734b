"""The difference that a matrix can see, before anything trains."""

import math
import re

from plans import plan_of

from kdbench.analysis import detectable_difference, seeds_to_detect
from kdbench.plan.resolution import describe_design, describe_resolution

METHODS = {"vanilla": {"alpha": [0.1, 0.5]}, "logit_mse": {}}


def test_the_line_states_test_images_seeds_rows_and_the_assumption() -> None:
    (line,) = describe_resolution(plan_of(methods=METHODS, seeds=[0, 1, 2, 3, 4, 5]))
    spread = math.sqrt(0.1 / 360)
    seen, needed = detectable_difference(spread, 6, 3, 360), seeds_to_detect(0.005, spread, 3, 360)
    assert line == (
        f"resolution on digits: 6 seeds and 360 test images see a difference of {100 * seen:.2f} points between two of "
        f"3 students with 80 % power; half a point needs {needed} seeds (assumed: 90 % accuracy; two runs differ in "
        "correctness on 10 % of the test images)"
    )


def test_with_fewer_than_five_seeds_nothing_is_tested() -> None:
    for seeds, word in ((1, "1 seed"), (4, "4 seeds")):
        line = describe_design(seeds, 3, 10_000)
        assert line.startswith(f"{word}, so nothing is tested; 5 seeds and 10,000 test images see a difference of 0.")


def test_more_seeds_and_more_test_images_see_smaller_differences() -> None:
    designs = [(5, 9, 360), (20, 9, 360), (20, 9, 10_000)]
    seen = [float(re.findall(r"of (\d+\.\d\d) points", describe_design(*design))[0]) for design in designs]
    assert seen == sorted(seen, reverse=True)
    assert "half a point needs more test images" in describe_design(5, 9, 100)


def test_without_validation_every_configuration_is_a_row() -> None:
    (line,) = describe_resolution(plan_of(methods=METHODS, protocol={"validation": 0}))
    assert "between two of 4 students" in line


def test_one_student_is_compared_with_nothing() -> None:
    assert list(describe_resolution(plan_of(methods={}))) == []
