"""The kernel in which a notebook is executed: where it talks, what its libraries say, and how it is stopped."""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time

from jupyter_client import AsyncKernelManager

from nst.signals import STOPPING

LONGEST_SOCKET = 95  # bytes of the name of a Unix socket, which may have 103 to 107
SECONDS_TO_STOP = 5.0  # before the training, when there is nothing to lose
SECONDS_OF_ONE_STOP = 1  # a terminal that closes, make and timeout send a signal two or three times


def kernel_in(folder):
    """Return the manager of a kernel that talks through files in a folder, or through ports of this machine alone."""
    sockets = os.path.join(folder, "kernel")
    files = sys.platform != "win32" and len(os.fsencode(sockets)) <= LONGEST_SOCKET
    ports = {"transport": "tcp", "ip": "127.0.0.1", "transport_encryption": "auto"}
    where = {"transport": "ipc", "ip": sockets} if files else ports
    return AsyncKernelManager(kernel_name="python3", connection_file=os.path.join(folder, "kernel.json"), **where)


@contextlib.contextmanager
def kernel_log(folder):
    """Yield a file for what a kernel's libraries write past the cells; its end is noted on the error of a lost one."""
    with open(os.path.join(folder, "kernel.log"), "w+", encoding="utf-8", errors="replace") as log:
        try:
            yield log
        except RuntimeError as error:
            log.seek(0)
            error.add_note("".join(log.readlines()[-3:]).strip())
            raise


class Signals:
    """What Ctrl-C, SIGTERM and SIGHUP do: the first one ends a training after its step, or the whole where nothing is
    trained; a second one, and any while the kernel starts, ends all at once.

    left_behind is a function that returns what is to be said then, a list.

    Attributes:
        received: the number of the signal that stops the notebook, or None.
        training: None before, True in, False after the cells that train.
        ready: whether the kernel runs cells.
        trains: whether there are cells that train.
    """

    def __init__(self, terminal, km, folder, left_behind):
        self._terminal, self._km, self._folder, self._left_behind = terminal, km, folder, left_behind
        self.received = self.training = self._first = None
        self.ready = self.trains = False
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, self._on_signal)

    def _on_signal(self, number, frame):
        if self._first and time.monotonic() - self._first < SECONDS_OF_ONE_STOP:
            return
        if self._first or not self.ready:
            self._end(number)
        self._first = time.monotonic()
        if self.training is False:
            self._terminal.say("The training is over; finishing the page.")
            return
        self.received = number
        step = "Stopping after this step … (once more ends it at once)"
        self._terminal.say(step if self.training else "Stopping …")
        if sys.platform != "win32":  # there, the kernel gets Ctrl-C as well
            self._interrupt()

    def _interrupt(self):
        """Interrupt the kernel. One just about to begin a cell may lose it, so that before the training it is ended."""
        with contextlib.suppress(OSError, AttributeError, TypeError):  # there is no kernel any more
            os.kill(self._km.provisioner.pid, signal.SIGINT)
        if self.trains and self.training is None:
            later = threading.Timer(SECONDS_TO_STOP, lambda: self.training is None and self._kill())
            later.daemon = True
            later.start()

    def _kill(self):
        """End the kernel with all its children, whatever it is doing."""
        with contextlib.suppress(OSError, AttributeError):  # there is no kernel yet, or none any more
            process = self._km.provisioner.process
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()

    def _end(self, number):
        """End the kernel and this process, whatever either is doing."""
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._terminal.say("\n".join(["Ended at once.", *self._left_behind()]))
        os._exit(128 + number)
