"""From a paper as described to its released code, one group of deviations at a time: the waterfall of an audit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from disentrec.errors import DisentrecError

if TYPE_CHECKING:  # the papers import this module
    from disentrec.study.papers import Artefact, Deviation, Row

RELEASED = "released"
#: The order of the steps: what a model is given, what it is, how it learns, how it is scored. Settings are no
#: deviation: they are the release's own hyper-parameters in place of those chosen on validation.
GROUPS = ("data", "model", "training", "settings", "evaluation")
#: What a row of an artefact may switch.
SWITCHES = ("settings", "protocol", "training", "without_features")


def waterfall(audit: Artefact, deviations: Sequence[Deviation]) -> Artefact:
    """Returns the cumulative rows of an audit, each compared with the row before it.

    The first is the audit's reference, the last its released row. A switch that the released row does not carry is left
    out: the two pseudo-texts of MMSBR, for one, cannot be had at once.
    """
    first, released = audit.row(audit.reference), audit.row(RELEASED)
    own = not released.tuned or any(_left(audit, released).values())
    groups = [group for group in GROUPS if _rows(audit, group) or (group == "settings" and own)]
    rows = [first]
    for group in groups:
        switches = {row.id for row in _rows(audit, group) if carried(row, released)}
        names = [d.id for d in deviations if d.switch in switches]
        label = f"+ {group}" + (f" ({', '.join(names)})" if names else "")
        step = {"id": group, "label": label, "group": group, "against": rows[-1].id}
        rows.append(replace(rows[-1], **step, **_added(audit, group, rows[-1], released)))
    # Whatever no group names (the name of the protocol) comes with the last step.
    last = {name: getattr(rows[-1], name) for name in ("label", "group", "against")}
    rows[-1] = replace(released, **last)
    return replace(audit, id="waterfall", title="From the paper to its released code, step by step", rows=tuple(rows))


def carried(row: Row, released: Row) -> bool:
    """True when the released row has every switch of a row."""
    return all(
        getattr(released, name).get(key) == value
        for name in ("settings", "protocol", "training")
        for key, value in getattr(row, name).items()
    )


def _rows(audit: Artefact, group: str) -> list[Row]:
    known = {row.group for row in audit.rows} - {""}
    if not known <= set(GROUPS):
        raise DisentrecError(
            f"the audit has groups {sorted(known - set(GROUPS))} that no step adds", how=f"Valid: {', '.join(GROUPS)}"
        )
    return [row for row in audit.rows if row.group == group]


def _added(audit: Artefact, group: str, before: Row, released: Row) -> dict[str, Any]:
    """Returns the fields of the row that a group adds to the row before it."""
    if group == "settings":
        added = {**_left(audit, released), "tuned": released.tuned, "protocol": {}}
    else:
        rows = [row for row in _rows(audit, group) if carried(row, released)]
        added = {name: _only(getattr(released, name), _keys(rows, name)) for name in SWITCHES}
    return added | {name: {**getattr(before, name), **added[name]} for name in SWITCHES}


def _left(audit: Artefact, released: Row) -> dict[str, dict[str, Any]]:
    """Returns what the released row sets and no group names, its protocol apart."""
    named = [row for row in audit.rows if row.group]
    return {
        name: {key: value for key, value in getattr(released, name).items() if key not in _keys(named, name)}
        for name in ("settings", "training", "without_features")
    }


def _keys(rows: Iterable[Row], name: str) -> set[str]:
    return {key for row in rows for key in getattr(row, name)}


def _only(values: Any, keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in keys}
