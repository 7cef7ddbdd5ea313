"""A Sphinx extension: what a public repository adds to the pages, all from `repository: url` in _config.yml.

With an empty address there is no button and no sitemap: none that leads nowhere. Docstrings become pages, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

BINDER = "https://mybinder.org"
BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")


def setup(app: Any) -> dict[str, Any]:
    """Adds the buttons when the configuration is read, and the sitemap when the pages are written."""
    app.connect("config-inited", add_buttons)
    app.connect("build-finished", write_sitemap)
    if "autodoc-process-docstring" in app.events.events:
        app.connect("autodoc-process-docstring", plain_metrics)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_buttons(app: Any, config: Any) -> None:
    """Turns on the buttons to the repository, and Binder for the chapters that are notebooks."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options.update(dict.fromkeys(BUTTONS, True))
        given = {key: value for key, value in options.get("launch_buttons", {}).items() if value}
        # Jupyter Book's own defaults are an empty address and the classic interface, which Binder no longer offers.
        options["launch_buttons"] = {"binderhub_url": BINDER, **given, "notebook_interface": "jupyterlab"}


def plain_metrics(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escapes the sign in names such as MRR@20, which reStructuredText takes for addresses of mail."""
    lines[:] = [re.sub(r"(?<=\w)@(?=\w)", r"\\@", line) for line in lines]


def public_address(repository: str) -> str:
    """Returns where GitHub Pages publishes a repository, with a slash at the end; "" for any other host."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(\.git)?/?", repository)
    if found is None:
        return ""
    owner, name = found[1].lower(), found[2]
    return f"https://{owner}.github.io/" + ("" if name.lower() == f"{owner}.github.io" else f"{name}/")


def write_sitemap(app: Any, failure: Exception | None) -> None:
    """Writes sitemap.xml beside the pages: one address per page, sorted."""
    base = public_address(app.config.html_theme_options.get("repository_url", ""))
    if failure is None and base and app.builder.format == "html":
        pages = sitemap(base, (app.builder.get_target_uri(name) for name in app.env.found_docs))
        (Path(app.outdir) / "sitemap.xml").write_text(pages, encoding="utf-8")


def sitemap(base: str, pages: Any) -> str:
    """Returns the sitemap of pages given relative to `base`."""
    lines = [f"<url><loc>{escape(base + page)}</loc></url>" for page in sorted(pages)]
    head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return head + "\n".join(lines) + "\n</urlset>\n"
