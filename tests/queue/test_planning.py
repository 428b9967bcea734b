"""The plan of the queue: how groups are cut into parts."""

import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.queue.planning import MAX_COHORT_SIZE, cut, make_schedule
from kdbench.queue.simulation import Machine, Part, PlannedRun

START = 2.0


def planned(run, own=10.0, shared=5.0, needs=(), group="g"):
    return PlannedRun(run, group, own, shared, frozenset(needs), epochs=30)


@pytest.fixture(scope="module", autouse=True)
def few_trials():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdbench.queue.planning.TRIALS", 2000)
        yield


def idle(slots):
    return Machine([], [0.0] * slots, START)


def sizes(schedule):
    return [len(part.runs) for part in schedule.parts]


@st.composite
def workloads(draw):
    """Return runs whose needs are in the layer before; the runs of a group are equal but for their needs."""
    runs, layer = [], []
    for depth in range(draw(st.integers(1, 3))):
        needed, layer = layer, []
        for number in range(draw(st.integers(1, 3))):
            own, shared = draw(st.integers(1, 100)), draw(st.integers(0, 30))
            for index in range(draw(st.sampled_from([1, 1, 2, 3, 17]))):
                needs = draw(st.sets(st.sampled_from(needed), max_size=2)) if needed else ()
                layer.append(f"{depth}-{number}-{index}")
                runs.append(planned(layer[-1], own, shared, needs, (depth, number)))
    return runs


def lower_bound(runs, slots):
    """Return the larger of the work divided by the slots, and the longest chain."""
    ends = {}
    for one in runs:
        ends[one.id] = max((ends[need] for need in one.needs), default=0.0) + one.own + one.shared
    return max(*ends.values(), sum(one.own for one in runs) / slots)


@given(workloads(), st.integers(1, 5))
@settings(max_examples=30)
def test_a_schedule_is_complete_and_possible(runs, slots):
    schedule = make_schedule(runs, idle(slots))
    known = {one.id: one for one in runs}
    assert Counter(run for part in schedule.parts for run in part.runs) == Counter(list(known))
    assert max(sizes(schedule)) <= MAX_COHORT_SIZE
    assert all(len({known[run].group for run in part.runs}) == 1 for part in schedule.parts)
    starts = list(zip(schedule.parts, schedule.starts, strict=True))
    ends = {run: start + part.seconds for part, start in starts for run in part.runs}
    for part, start in starts:
        assert start >= max((ends[need] for run in part.runs for need in known[run].needs), default=0.0)
    assert list(schedule.starts) == sorted(schedule.starts)
    assert sum(start <= 0 for start in schedule.starts) <= slots
    assert schedule.end >= lower_bound(runs, slots) * (1 - 1e-9)


@given(workloads())
@settings(max_examples=20)
def test_one_slot_trains_as_few_parts_as_possible(runs):
    groups = Counter(one.group for one in runs)
    schedule = make_schedule(runs, idle(1))
    assert len(schedule.parts) == sum(math.ceil(size / MAX_COHORT_SIZE) for size in groups.values())


TEACHER = Part(("t",), 0.5, 0.0)


@pytest.mark.parametrize(
    "machine",
    [idle(2), Machine([], [0.0, 0.5], START), Machine([TEACHER], [0.0], START)],
    ids=["two free slots", "one is free soon", "one ends its job soon"],
)
def test_nine_students_on_two_slots_are_cut_into_five_and_four(machine):
    schedule = make_schedule([planned(str(number), own=60.0, shared=20.0) for number in range(9)], machine)
    assert sizes(schedule) == [5, 4]
    assert max(schedule.starts) <= 0.5


def test_runs_that_hardly_train_stay_together():
    assert sizes(make_schedule([planned(str(number), own=0.001) for number in range(9)], idle(4))) == [9]


def test_a_teacher_comes_before_longer_runs_that_nobody_waits_for():
    runs = [
        planned("scratch", 30.0, 0.0, group="scratch"),
        planned("t", 10.0, 0.0),
        planned("s", 25.0, 0.0, "t", group="s"),
    ]
    assert [part.runs for part in make_schedule(runs, idle(1)).parts] == [("t",), ("scratch",), ("s",)]


def test_a_run_with_dependents_waits_for_no_other_of_its_group():
    runs = [
        *(planned(str(number)) for number in range(8)),
        planned("first"),
        planned("second", needs=["first"], group="2"),
    ]
    schedule = make_schedule(runs, idle(2))
    starts = {part.runs: start for part, start in zip(schedule.parts, schedule.starts, strict=True)}
    assert starts["first",] == 0
    assert starts["second",] == START + 15.0


def test_two_chains_of_generations_train_side_by_side():
    runs = []
    for generation in range(3):
        for chain in "ab":
            needs = [f"{chain}{generation - 1}"] if generation else []
            runs.append(planned(f"{chain}{generation}", 60.0, 0.0, needs, group=generation))
    schedule = make_schedule(runs, idle(2))
    assert sizes(schedule) == [1] * 6
    assert schedule.end == 3 * (START + 60.0)


def test_counts_decide_the_cut():
    runs = [planned(str(number), 60.0, group=number % 2) for number in range(8)]
    schedule = make_schedule(runs, idle(4), {(0, False): 3})
    assert sorted(sizes(schedule)) == [1, 1, 2, 4]
    best = make_schedule(runs, idle(4))
    assert make_schedule(runs, idle(4), best.counts) == best or sizes(best) == [2, 2, 2, 2]


def test_very_many_runs_are_cut_only_by_the_size_of_a_cohort(monkeypatch):
    monkeypatch.setattr("kdbench.queue.planning.MAX_SIMULATED_RUNS", 30)
    assert sizes(make_schedule([planned(str(number), 60.0) for number in range(31)], idle(8))) == [16, 15]


def test_without_runs_the_schedule_is_empty():
    schedule = make_schedule([], Machine([TEACHER], [0.0], START))
    assert (schedule.parts, schedule.end) == ((), 0.5)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 60))
def test_a_cut_keeps_every_run_and_the_order(seconds, parts):
    group = [planned(str(number), own) for number, own in enumerate(seconds)]
    found = cut(group, min(parts, len(group)))
    assert sorted((one for part in found for one in part), key=group.index) == group
    assert all(0 < len(part) <= MAX_COHORT_SIZE for part in found)
    assert all(part == sorted(part, key=group.index) for part in found)


@given(st.integers(1, 50), st.integers(1, 60))
def test_equal_runs_are_cut_evenly(size, parts):
    found = Counter(map(len, cut([planned(str(number)) for number in range(size)], min(parts, size))))
    assert max(found) - min(found) <= 1
    assert sum(found.values()) == max(min(parts, size), math.ceil(size / MAX_COHORT_SIZE))


def test_long_runs_are_cut_off_from_short_ones():
    group = [planned(name, own) for name, own in (("a", 1.0), ("b", 9.0), ("c", 1.0), ("d", 8.0), ("e", 1.0))]
    found = defaultdict(float)
    for number, part in enumerate(cut(group, 2)):
        found[number] = sum(one.own for one in part)
    assert list(found.values()) == [10.0, 10.0]
