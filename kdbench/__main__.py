"""`python -m kdbench`, and the command `kdbench`."""

import signal

from kdbench.cli.app import app
from kdbench.queue.signals import SIGNALS, sigterm_as_interrupt


def main() -> None:
    """Run a command. Signals that arrive after its end, while Python exits, do not change its exit status."""
    try:
        with sigterm_as_interrupt():
            app(prog_name="kdbench")
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
