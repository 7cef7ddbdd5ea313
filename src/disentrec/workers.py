"""What a worker process begins with. Imports next to nothing: it must be at work before torch is loaded."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading

#: How a worker keeps its memory. Freed tables stay with the process, because a step needs them again at once and to map
#: them anew takes a third of it; large ones lie in large pages, which are mapped several times as fast.
ALLOCATION = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "THP_MEM_ALLOC_ENABLE": "1",  # torch's: Linux alone has such pages, elsewhere nothing happens
}


def end_with_parent() -> None:
    """Makes this worker end itself when its parent is gone: what it holds of the machine and the store is free then.

    The pipe to a spawned worker is open only in its parent, so the system closes it however the parent dies.
    """

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)  # no clean-up: whatever is half done is left as a kill would leave it

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
