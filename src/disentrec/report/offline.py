"""A Sphinx extension: the book without thebe, whose script is from the network and declared twice a page."""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, Any]:
    """Disconnects all listeners of sphinx_thebe, which Jupyter Book always loads; returns the metadata."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if getattr(listener.handler, "__module__", "").startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
