"""The copy of axe-core is the one its description names, and only the tests know it."""

from __future__ import annotations

import hashlib

from disentrec.paths import ROOT

from .axe import SCRIPT

VENDOR = SCRIPT.parent


def test_the_copy_is_the_one_described():
    text = (VENDOR / "README.md").read_text(encoding="utf-8")
    assert f"`{hashlib.sha256(SCRIPT.read_bytes()).hexdigest()}`" in text
    version = SCRIPT.read_text(encoding="utf-8").partition("\n")[0].split()[-1].removeprefix("v")
    assert f"axe-core {version}," in text and f"axe-core@{version}" in text
    assert sorted(path.name for path in VENDOR.iterdir()) == sorted(
        ["LICENSE-axe-core-3rd-party.txt", "LICENSE-axe-core.txt", "README.md", "axe.min.js"]
    )
    assert "Mozilla Public License" in (VENDOR / "LICENSE-axe-core.txt").read_text(encoding="utf-8")[:60]


def test_it_is_neither_in_the_package_nor_in_the_book():
    for folder in (ROOT / "src", ROOT / "book", ROOT / "_build" / "html"):
        assert list(folder.rglob("axe*.js")) == []
