"""The simulated list schedule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.queue.simulation import Machine, Part, simulate


def part(runs, seconds, tail=0.0, needs=(), shared=0.0, epochs=10**9):
    return Part(tuple(runs), seconds, shared, tail, frozenset(needs), epochs)


def idle(slots, start_seconds=1.0):
    return Machine([], [0.0] * slots, start_seconds)


def test_without_parts_the_end_is_that_of_the_running_ones():
    assert simulate([], idle(2)) == ({}, 0.0)
    assert simulate([], Machine([part("a", 7.0)], [0.0], 1.0)) == ({}, 7.0)


def test_the_part_with_most_seconds_before_it_starts_first():
    parts = [part("a", 5.0), part("b", 3.0, tail=4.0), part("c", 6.0)]
    starts, end = simulate(parts, idle(1))
    assert list(starts.items()) == [(1, 0.0), (2, 3.0), (0, 9.0)]
    assert end == 14.0


def test_a_part_starts_when_its_needs_have_ended():
    parts = [part("t", 2.0, tail=4.0), part("s", 4.0, needs="tr"), part("x", 1.0)]
    starts, end = simulate(parts, Machine([part("r", 5.0)], [0.0], 1.0))
    assert (starts, end) == ({0: 0.0, 2: 2.0, 1: 5.0}, 9.0)


def test_a_part_whose_need_is_not_trained_here_does_not_start():
    starts, end = simulate([part("a", 2.0, needs="?"), part("b", 2.0, needs="a"), part("c", 3.0)], idle(1))
    assert (starts, end) == ({2: 0.0}, 3.0)


def test_a_slot_that_is_free_later_starts_later():
    starts, end = simulate([part("a", 5.0), part("b", 4.0)], Machine([], [0.0, 0.5], 1.0))
    assert (starts, end) == ({0: 0.0, 1: 0.5}, 5.0)


@pytest.mark.parametrize(
    ("start_seconds", "shared", "end"),
    [
        (1.0, 0.2, 7.0),  # half of what the runs do not share moves, and starts one second later
        (0.0, 0.0, 5.0),
        (2.1, 0.2, 10.0),  # six seconds and two starts are longer
        (1.0, 0.7, 10.0),  # most is shared
    ],
)
def test_an_idle_slot_takes_over_half_of_a_part_where_it_pays(start_seconds, shared, end):
    long = part("ab", 10.0, shared=shared)
    assert simulate([], Machine([long], [0.0], start_seconds))[1] == pytest.approx(end)


@pytest.mark.parametrize(("epochs", "end"), [(10, 1.0 + 9.0 / 2), (2, 5.0 + 5.0 / 2), (1, 10.0)])
def test_a_part_is_divided_when_its_epoch_has_ended(epochs, end):
    long = part("ab", 10.0, epochs=epochs)
    assert simulate([], Machine([long], [0.0], 0.0))[1] == pytest.approx(end)


def test_a_part_that_delays_others_is_not_divided():
    parts = [part("ab", 10.0, tail=1.0), part("c", 1.0, needs="a")]
    assert simulate(parts, idle(2))[1] == 11.0


def test_a_single_run_is_not_divided():
    assert simulate([part("a", 10.0)], idle(2))[1] == 10.0


def test_a_part_is_divided_among_all_idle_slots():
    assert simulate([], Machine([part("abcd", 16.0)], [0.0] * 3, 0.0))[1] == pytest.approx(4.0)


def test_what_the_runs_share_is_divided_by_no_number_of_slots():
    end = simulate([], Machine([part("abcd", 16.0, shared=0.5)], [0.0] * 3, 0.0))[1]
    assert end == pytest.approx(16.0 * (0.5 + 0.5 / 4))


@st.composite
def parts_of_single_runs(draw):
    parts = []
    for number in range(draw(st.integers(1, 12))):
        needs = draw(st.sets(st.sampled_from([str(other) for other in range(number)] or ["0"]), max_size=2))
        seconds, tail = draw(st.integers(0, 20)), draw(st.integers(0, 20))
        parts.append(part([str(number)], float(seconds), float(tail), needs if number else ()))
    return parts


@given(parts_of_single_runs(), st.lists(st.integers(0, 9), min_size=1, max_size=4))
@settings(max_examples=100)
def test_every_part_starts_once_on_a_free_slot_after_its_needs(parts, free_at):
    starts, end = simulate(parts, Machine([], [float(time) for time in free_at], 2.0))
    ends = {index: start + parts[index].seconds for index, start in starts.items()}
    assert sorted(starts) == list(range(len(parts)))
    for index, start in starts.items():
        assert start >= max((ends[int(need)] for need in parts[index].needs), default=0.0)
        running = sum(starts[other] <= start < ends[other] for other in starts)
        assert running <= sum(time <= start for time in free_at)
    assert end == max(*free_at, *ends.values())
