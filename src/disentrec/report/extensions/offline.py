"""A Sphinx extension: the book without thebe, whose script is from the network and declared twice a page."""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, Any]:
    """Disconnects all listeners of sphinx_thebe, which Jupyter Book always loads, and its style sheet."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if getattr(listener.handler, "__module__", "").startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    # Without its listeners the sheet is never copied, and every page would ask for a file that is not there.
    app.registry.css_files[:] = [entry for entry in app.registry.css_files if "thebe" not in entry[0]]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
