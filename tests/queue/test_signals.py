"""Interrupts, which the test process sends to itself."""

import signal
import threading

import pytest

from kdbench.queue.signals import SIGNALS, Interrupts, sigterm_as_interrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_requests_a_stop_and_the_second_raises(number):
    with Interrupts() as interrupts:
        assert not interrupts.is_stop_requested
        signal.raise_signal(number)
        assert (interrupts.is_stop_requested, interrupts.is_kill_requested) == (True, False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupts.is_kill_requested


def test_previous_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert not interrupts.is_stop_requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_changes():
    seen = []

    def work():
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGTERM), interrupts.is_stop_requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGTERM), False)]


def test_sigterm_raises_inside_the_block_alone():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_interrupt(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with sigterm_as_interrupt():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_outside_the_main_thread_changes_nothing():
    seen = []

    def work():
        with sigterm_as_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
