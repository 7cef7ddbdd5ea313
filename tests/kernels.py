"""A plugin for nbval: its kernels talk over socket files, as those of `disentrec book` do.

nbval starts its kernels on TCP ports and with IPython's history of commands, one file for all that run at once. Give
`-p tests.kernels` to pytest to load it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nbval.kernel
from jupyter_client.manager import KernelManager

from disentrec.report.notebooks import sockets_in


class SocketKernelManager(KernelManager):
    """Keeps its sockets in a folder of its own, and its kernel no history."""

    def __init__(self, **settings):
        self._folder = TemporaryDirectory(prefix="kernel-")
        super().__init__(**sockets_in(Path(self._folder.name)), **settings)

    def start_kernel(self, **settings):
        super().start_kernel(extra_arguments=["--HistoryManager.hist_file=:memory:"], **settings)

    def shutdown_kernel(self, **settings):
        super().shutdown_kernel(**settings)
        self._folder.cleanup()


nbval.kernel.KernelManager = SocketKernelManager
