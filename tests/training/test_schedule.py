"""Every schedule against its closed form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix.recipe import Constant, Cosine, MultiStep, OneCycle, Plateau
from kdbench.training.schedule import PlateauFactor, cycle_at, lr_factor

EPOCHS = 100


def half_cosine(progress):
    """Return 1 at 0, falling to 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * progress)


@pytest.mark.parametrize("progress", [0, 0.25, 1])
@pytest.mark.parametrize("schedule", [Constant(), Plateau()])
def test_constant_and_plateau_keep_the_learning_rate(schedule, progress):
    assert lr_factor(schedule, progress, EPOCHS) == 1


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1), (29.99, 1), (30, 0.2), (59.99, 0.2), (60, 0.04), (80, 0.008), (100, 0.008)]
)
def test_multistep_is_lowered_at_its_milestones(epoch, expected):
    schedule = MultiStep(milestones=(60, 30, 80), gamma=0.2)
    assert lr_factor(schedule, epoch / EPOCHS, EPOCHS) == pytest.approx(expected)


@given(st.integers(1, 400), st.data())
def test_multistep_is_lowered_at_the_first_batch_of_the_milestone(epochs, data):
    milestone = data.draw(st.integers(1, epochs))
    schedule = MultiStep(milestones=(milestone,), gamma=0.5)
    assert lr_factor(schedule, milestone / epochs, epochs) == 0.5
    assert lr_factor(schedule, (milestone - 1e-3) / epochs, epochs) == 1


@pytest.mark.parametrize(("progress", "expected"), [(0, 1), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1, 0)])
def test_cosine(progress, expected):
    assert lr_factor(Cosine(), progress, EPOCHS) == pytest.approx(expected, abs=1e-12)
    assert lr_factor(Cosine(min_lr_ratio=0.1), progress, EPOCHS) == pytest.approx(0.1 + 0.9 * expected)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0, 1 / 20),
        (0.1, 1 / 20 + 19 / 20 * 0.5),
        (0.2, 1),
        (0.6, 0.01 + 0.99 * 0.5),
        (0.2 + 0.8 / 3, 0.01 + 0.99 * half_cosine(1 / 3)),
        (1, 0.01),
    ],
)
def test_one_cycle_rises_and_falls(progress, expected):
    schedule = OneCycle(pct_start=0.2, div_factor=20, final_div_factor=5)
    assert lr_factor(schedule, progress, EPOCHS) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Constant, MultiStep, Cosine, OneCycle, Plateau])
@given(progress=st.floats(0, 1))
def test_warm_up_scales_the_schedule_linearly(schedule, progress):
    plain, warmed = schedule(), schedule(warmup=5)
    expected = min(progress * EPOCHS / 5, 1) * lr_factor(plain, progress, EPOCHS)
    assert lr_factor(warmed, progress, EPOCHS) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Constant(), MultiStep(milestones=(30,)), Cosine(), OneCycle(), Plateau()])
@given(progress=st.floats(0, 1), epochs=st.floats(0.5, 500))
def test_a_factor_is_between_0_and_1(schedule, progress, epochs):
    assert 0 <= lr_factor(schedule, progress, epochs) <= 1 + 1e-12


@given(st.integers(1, 60), st.integers(1, 40), st.data())
def test_cycles_divide_the_run(cycles, steps, data):
    """Compare with integer arithmetic, for a run of cycles x steps batches."""
    step = data.draw(st.integers(0, cycles * steps))
    number, progress = cycle_at(step / (cycles * steps), cycles)
    last = step == cycles * steps
    assert number == (cycles - 1 if last else step // steps)
    assert progress == pytest.approx(1 if last else step % steps / steps, abs=1e-8)


def test_plateau_lowers_the_factor_after_more_than_patience_epochs_without_a_new_best_one():
    plateau, factors = PlateauFactor(Plateau(factor=0.5, patience=1)), []
    for is_best in (True, True, False, False, True, False, False, False, False):
        plateau.observe(is_best)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
