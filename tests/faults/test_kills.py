"""Processes that are killed or asked to stop at any moment: the same command finishes with the same numbers."""

import os
import random
import signal
import time
from typing import Any

import pytest


def a_while(moments: random.Random) -> None:
    """Some moment of a cohort's training, or between two."""
    time.sleep(moments.uniform(0, 4))


def test_a_worker_that_is_killed_costs_no_run(bench: Any, undisturbed: Any, moments: random.Random) -> None:
    process, began = bench.start(), time.monotonic()
    bench.until(bench.checkpoints)
    a_while(moments)
    victims = [pid for pid in bench.workers() if os.getpgid(pid) == pid]
    for pid in moments.sample(victims, min(1, len(victims))):
        os.kill(pid, signal.SIGKILL)
    ran = bench.ended(process, began)
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)
    assert max(bench.attempts().values()) <= 2


def test_a_coordinator_that_is_killed_again_and_again(
    bench: Any, undisturbed: Any, moments: random.Random, times: int
) -> None:
    for _ in range(times):
        process, began = bench.start(), time.monotonic()
        bench.until(lambda: bench.checkpoints() or bench.done())
        a_while(moments)
        os.kill(process.pid, signal.SIGKILL)
        bench.ended(process, began)
        bench.until(lambda: not bench.workers(), seconds=10)
    ran = bench.run()
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)


def test_a_machine_that_goes_down(bench: Any, undisturbed: Any, moments: random.Random) -> None:
    process, began = bench.start(), time.monotonic()
    bench.until(bench.checkpoints)
    a_while(moments)
    for pid in [process.pid, *bench.workers()]:
        os.kill(pid, signal.SIGKILL)
    bench.ended(process, began)
    begun = bench.attempts()
    kept = set(bench.done())
    ran = bench.run()
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)
    assert {run: n for run, n in bench.attempts().items() if run in kept} == {run: begun[run] for run in kept}


@pytest.mark.parametrize(
    ("signals", "seconds"),
    [([signal.SIGINT], 10), ([signal.SIGTERM], 10), ([signal.SIGINT, signal.SIGINT], 3)],
    ids=["Ctrl-C", "SIGTERM", "Ctrl-C twice"],
)
def test_an_interrupt_stops_all_in_time_and_the_same_command_goes_on(
    bench: Any, undisturbed: Any, signals: list[signal.Signals], seconds: float
) -> None:
    process = bench.start()
    bench.until(bench.checkpoints)
    asked = time.monotonic()
    for number in signals:
        os.kill(process.pid, number)
        time.sleep(0.2)
    stopped = bench.ended(process, asked, timeout=30)
    assert stopped.status == 130, stopped.said
    assert stopped.seconds < seconds
    assert "run the same command again" in stopped.said
    assert "Traceback" not in stopped.said
    bench.until(lambda: not bench.workers(), seconds=1)
    again = bench.run()
    assert again.status == 0, again.said
    bench.numbers().check_same(undisturbed.numbers)


def test_two_commands_at_once_train_every_run_once(bench: Any, undisturbed: Any) -> None:
    began = time.monotonic()
    both = [bench.start(), bench.start()]
    for ran in [bench.ended(process, began) for process in both]:
        assert ran.status == 0, ran.said
    assert set(bench.attempts().values()) == {1}
    bench.numbers().check_same(undisturbed.numbers)
