"""Work in a process that may be killed, without the seconds that its imports take."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_SCRIPT = """
import os, resource, sys, traceback
from pathlib import Path
import lightning_fabric, lightning_fabric.plugins
PRELUDE
for line in sys.stdin:
    folder, max_file_size = line.split()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if int(max_file_size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(max_file_size),) * 2)
            exec(WORK)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Launcher:
    """A process with everything imported, which starts the work in a fork of its own.

    Args:
        prelude: Python to run once: imports and constants.
        work: Python to run in every fork, where ``folder`` is a text.
    """

    def __init__(self, prelude: str, work: str) -> None:
        script = _SCRIPT.replace("PRELUDE", prelude).replace("WORK", repr(work))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, kill_after: float | None = None, max_file_size: int = 0) -> tuple[float, int]:
        """Work in ``folder``; return the seconds that it took and how it ended: 0, or the signal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(folder, max_file_size, file=self.process.stdin, flush=True)
        pid, start = int(self.process.stdout.readline()), time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        assert status in (0, signal.SIGKILL), "the work has failed"
        return time.perf_counter() - start, status
