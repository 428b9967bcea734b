"""Interrupts, sent by this process to itself."""

import signal
import threading

import pytest

from kdbench.queue.signals import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted_and_the_second_raised(number):
    with Interrupts() as interrupts:
        assert not interrupts.wanted
        signal.raise_signal(number)
        assert (interrupts.wanted, interrupts.again) == (True, False)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupts.again


def test_the_handlers_of_before_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert not interrupts.wanted
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_it_does_nothing():
    seen = []

    def work():
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGTERM), interrupts.wanted))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGTERM), False)]
