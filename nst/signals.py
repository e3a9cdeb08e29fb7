"""Signals that ask a program to stop, for as long as something can be saved."""

import contextlib
import signal
import threading

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def in_a_line(text):
    """Have Jupyter show an interrupt of what is within in a line."""
    try:
        yield
    except KeyboardInterrupt as error:
        error._render_traceback_ = lambda: [f"KeyboardInterrupt: {text}"]
        raise


@contextlib.contextmanager
def on_stop_signals(handler):
    """Call a handler, as signal.signal does, for Ctrl-C, SIGTERM and SIGHUP; then give back those of before.

    In a thread that is not the main one Python allows no handlers, and one that was not set by Python cannot be given
    back: these stay as they are. So do signals that are ignored, as nohup has it.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: found for n in STOPPING if (found := signal.getsignal(n)) not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)
