"""Several processes on one terminal: the first one prints, and when they end too early, exactly one says why.

`torchrun` ends all processes as soon as one of them has ended with an error: by SIGTERM, and after thirty seconds by force. An operation
on GPUs that waits for a process that is gone cannot be left, so SIGTERM is waited for by a thread.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ArdtoolError
from ..training.processes import ProcessEnded, active, are_several

__all__ = ["command_again", "one_voice", "speaks", "when_ended"]

GRACE = 20.0  # seconds that a silent process waits for its end where the one that speaks may be behind it
INTERRUPTED = 130

_ending = threading.RLock()  # kept by the thread that says why this process ends


_explained: Callable[[ProcessEnded], ArdtoolError] = lambda error: error  # noqa: E731


@contextmanager
def one_voice(say: Callable[[ArdtoolError], None]) -> Iterator[None]:
    """Around a whole command: of several processes the first one alone is heard, unless another has to say why all of them end.

    Arguments:
        say: prints an error.
    """
    if not are_several():
        yield
        return
    if os.environ["RANK"] != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_the_end, args=(say,), daemon=True).start()
    try:
        yield
    except SystemExit as end:
        if end.code not in (None, 0, INTERRUPTED) and not speaks() and active().size == 1:
            time.sleep(GRACE)
        raise
    except BaseException:
        speaks()  # a traceback follows
        raise


def speaks() -> bool:
    """Whether this process is the one that says why all of them end. If so, it is heard from now on, and no longer ended by SIGTERM."""
    if not are_several():
        return True
    _ending.acquire()
    if not active().claim():
        _ending.release()
        return False
    sys.stderr = sys.__stderr__
    return True


def when_ended(explained: Callable[[ProcessEnded], ArdtoolError]) -> None:
    """What to say from now on where processes are ended from outside, beside who ended."""
    global _explained
    _explained = explained


def _wait_for_the_end(say: Callable[[ArdtoolError], None]) -> None:
    by_launcher = True
    if hasattr(signal, "sigwaitinfo"):
        by_launcher = signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getppid()
    else:  # some systems do not tell the sender
        signal.sigwait({signal.SIGTERM})
    _ending.acquire()  # never comes back where the other thread speaks: it ends this process itself
    if by_launcher:
        error = active().lost()
    else:
        error = ProcessEnded(f"Process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} (counted from 0) was told to end.")
    if speaks():
        say(_explained(error))
    os._exit(1)


def command_again(folder: Path, *options: str) -> str:
    """The command that continues an unfinished run."""
    words = ["--resume", "--out", str(folder), *options]
    if not are_several():
        return shlex.join(["ardtool", "train", *words])
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    launch = f"torchrun --nproc-per-node {os.environ['WORLD_SIZE']}" if one_machine else "torchrun …"
    return f"{launch} -m ardtool train {shlex.join(words)}"
