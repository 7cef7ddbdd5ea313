"""Strategies: what random bytes, odd values and misplaced parts make of a right file."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.targets import Target

#: Pieces that break readers more often than chance does.
PIECES = (
    b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[" * 3000, b"(" * 150,
    b"-" * 2000, b"9" * 30, b"9" * 400, b"9" * 5000, b"1e999", b"-1", b"0", b"null", b"NaN", b"true", b"../../x",
    b"\\ud800", b"&a *a ", b"&#" + b"9" * 5000 + b";", b"__import__('os').abort()", b"2001-99-99", b"::", b",",
    b"!!python/object/apply:os.abort []", b"\x80\x05cos\nabort\n(tR.", b"\x1f\x8b\x08\0", b"PK\x03\x04",
    b"<script>", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff",
)  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**31, 2**63, -(2**63), 10**400]), st.floats(),
    st.sampled_from(["", "../../x", "/etc/passwd", "\0", "a" * 5000, "\ud800", "<script>", "{{x}}", "2001-99-99"]),
    st.text(max_size=5), st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip


@st.composite
def edited(draw: st.DrawFn, right: bytes) -> bytes:
    """Returns `right` after a few cuts, flips, repetitions and insertions; rarely, bytes out of nowhere."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(right)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        size = draw(st.integers(0, 12))
        way = draw(st.sampled_from(("insert", "replace", "flip", "cut", "repeat", "end")))
        if way == "insert":
            content[start:start] = draw(st.sampled_from(PIECES))
        elif way == "replace":
            content[start : start + size] = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=12)))
        elif way == "flip" and start < len(content):
            content[start] = draw(st.integers(0, 255))
        elif way == "cut":
            del content[start : start + draw(st.integers(0, 200))]
        elif way == "repeat":
            content[start:start] = content[start : start + size] * draw(st.integers(1, 40))
        elif way == "end":
            del content[start:]
    return bytes(content)


@st.composite
def rebuilt(draw: st.DrawFn, right: Any) -> Any:
    """Returns a tree of values with one to three of its nodes replaced, removed or renamed."""
    tree = copy.deepcopy(right)
    for _ in range(draw(st.integers(1, 3))):
        node, key = None, None
        place = tree
        for _ in range(draw(st.integers(1, 6))):
            if not isinstance(place, dict | list) or not place:
                break
            node, key = (
                place,
                draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place)))),
            )
            place = place[key]
        if node is None:
            return draw(ODD)
        way = draw(st.sampled_from(("replace", "replace", "remove", "rename")))
        if way == "replace":
            node[key] = draw(ODD)
        else:
            value = node.pop(key)
            if way == "rename" and isinstance(node, dict):
                node[draw(st.text(max_size=4))] = value
    return tree


def mutated(target: Target) -> st.SearchStrategy[bytes]:
    """Returns the inputs for a target."""
    right = target.right()
    if target.kind == "bytes":
        return edited(right)
    tree = json.loads(right) if target.kind == "json" else yaml.safe_load(right)
    # JSON is YAML; a half surrogate pair stays an escape.
    return st.one_of(edited(right), rebuilt(tree).map(lambda found: json.dumps(found).encode()))
