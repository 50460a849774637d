"""Another process that trains in a folder, as far as its lock goes."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from shipped_code import PROJECT_ROOT

HOLDER = """
import os, sys, time
from pathlib import Path
from medm_plm.training.run_lock import lock_run_folder

lock_run_folder(Path(sys.argv[1]))
worker = os.fork() if sys.argv[2] == "with a worker" else None
if worker == 0:  # outlives its parent for a while
    time.sleep(60)
    os._exit(0)
print(worker, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def locked(folder: Path, worker: str = "alone") -> Iterator[tuple[subprocess.Popen, str]]:
    """Let another process hold the lock of a folder; killed at the end of the block.

    Yields the process and the number of its worker.
    """
    command = [sys.executable, "-c", HOLDER, str(folder), worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as holder:
        try:
            yield holder, holder.stdout.readline().strip()
        finally:
            holder.kill()
