"""A paper as data: its models and grids, artefacts, deviations of the released code, and claims (papers/*.yaml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import PAPERS
from disentrec.study.entries import make_entry, read_mapping
from disentrec.study.steps import waterfall

#: Files below papers/ that are not papers: the data sets, and what the papers of one task share.
SHARED = ("datasets", "sessions", "users")
#: The papers in the order of the book, then our own questions to all of them.
ORDER = (
    *("dimo", "mmsbr", "addrl", "idsf"),
    *("truth-sessions", "truth-users", "questions-sessions", "questions-users"),
)


@dataclass(frozen=True)
class Row:
    """One line of an artefact: a model with switches, under a protocol."""

    id: str
    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    #: Begin from the configuration chosen on validation; False: the settings stand as written.
    tuned: bool = True
    #: Only on data sets whose items have features.
    needs_features: bool = False
    #: Only on data sets that bring all of these: text, image, price, pictures (images themselves).
    needs: tuple[str, ...] = ()
    analyse: bool | str = False
    #: The row this one is compared with; the artefact's reference where none is named.
    against: str | None = None
    #: The same on data sets without item features, where it differs.
    against_without_features: str | None = None
    #: Settings added on data sets without item features.
    without_features: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class Artefact:
    """One table or figure of a paper."""

    id: str
    title: str
    rows: tuple[Row, ...]
    reference: str
    metrics: tuple[str, ...] = ("prec@20", "mrr@20")
    seeds: str = "other"  # "main" or "other": how many, says the budget
    datasets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # budget -> names; else the budget's own
    tuned_on: str | None = None  # take the chosen configurations of this data set
    #: What its page says before and after the tables, as Markdown.
    about: str = ""
    reading: str = ""

    def row(self, name: str) -> Row:
        """Returns a row by its id."""
        for row in self.rows:
            if row.id == name:
                return row
        raise unknown_name("row", name, [row.id for row in self.rows], where=f"artefact {self.id}")


@dataclass(frozen=True)
class Budget:
    """How much is run: on which data, with how many configurations, seeds and epochs."""

    name: str
    datasets: tuple[str, ...]
    tuning: int
    seeds: Mapping[str, int]
    training: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # model -> settings of this budget
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper and the comparison that decides it."""

    id: str
    claim: str
    chapter: str | None = None
    #: How it is decided: {"artefact", "better", "worse": [...], "metric"} or {"measure": ...}; empty: not run yet.
    test: Mapping[str, Any] = field(default_factory=dict)
    datasets: str = ""


@dataclass(frozen=True)
class Deviation:
    """One departure of the released code from the paper, and the switch that turns it on here."""

    id: str
    title: str
    file: str
    lines: str
    switch: str | None
    group: str
    verified: str
    #: Why it carries no number, where it has no switch; else what a reader should know of that number.
    note: str = ""
    #: It lets the test part speak in training or selection.
    sees_test: bool = False
    #: Where its number comes from, when that is not the audit's row of its switch: {"metric"}, the same runs read by
    #: another metric, or {"artefact", "row", "against"}.
    measured: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """Everything the study knows of one paper."""

    id: str
    title: str
    citation: str
    task: str
    repository: str
    commit: str
    claims: tuple[Claim, ...]
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    #: What of ours stands beside a reported figure: "datasets", "rows" and "settings", their name -> ours.
    beside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def of_users(self) -> bool:
        """Whether its models know users, not sessions."""
        return self.task.startswith("user")

    def artefact(self, name: str) -> Artefact:
        """Returns an artefact by its id; an unknown one lists the valid ones."""
        if name not in self.artefacts:
            raise unknown_name("artefact", name, self.artefacts, where=f"paper {self.id}")
        return self.artefacts[name]

    def budget(self, name: str) -> Budget:
        """Returns a budget by its name; an unknown one lists the valid ones."""
        if name not in self.budgets:
            raise unknown_name("budget", name, self.budgets, where=f"paper {self.id}")
        return self.budgets[name]

    def url(self, deviation: Deviation) -> str:
        """Returns the public address of a deviation: file and first line at the commit that was read."""
        line = re.match(r"\d+", str(deviation.lines))
        address = f"{self.repository}/blob/{self.commit}/{quote(deviation.file)}"
        return address + (f"#L{line[0]}" if line else "")

    def grid(self, model: str) -> list[dict[str, Any]]:
        """Returns the configurations a model is tuned over, the first ones first."""
        return [dict(entry) for entry in self.models.get(model, {}).get("grid", [{}])]

    def program(self, model: str) -> str:
        """Returns the registered model of an entry, which may be a model under settings and a grid of its own."""
        return self.models.get(model, {}).get("model", model)

    def label(self, model: str) -> str:
        """Returns the name of a model as printed."""
        return self.models.get(model, {}).get("label", model)


def paper_names() -> tuple[str, ...]:
    """Returns the names of all papers in the order of the book; new ones follow by name."""
    found = {path.stem for path in PAPERS.glob("*.yaml") if path.stem not in SHARED}
    return tuple(sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))


@cache
def load_paper(name: str) -> Paper:
    """Returns a paper by its name; an unknown one lists the valid ones."""
    if name not in paper_names():
        raise unknown_name("paper", name, paper_names())
    return read_paper(PAPERS / f"{name}.yaml")


def read_paper(path: Path) -> Paper:
    """Returns the paper that a YAML file describes; what it extends stands beside it."""
    try:
        return _paper(path)
    # Its parts are mappings of lists of mappings: what is of another kind than its place asks for says so itself.
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise DisentrecError(f"no paper: {type(error).__name__}: {error}", where=path) from error


def _paper(path: Path) -> Paper:
    content = read_mapping(path)
    if "extends" in content:
        base = content.pop("extends")
        if base not in SHARED:
            raise unknown_name("file to extend", base, SHARED, where=path)
        content = _merged(read_mapping(path.with_name(f"{base}.yaml")), content)
    _add_everywhere(content, path)
    content["claims"] = tuple(make_entry(Claim, entry, path) for entry in content["claims"])
    found = [make_entry(Deviation, entry, path) for entry in content.get("deviations", ())]
    content["deviations"] = tuple(sorted(found, key=lambda deviation: int(re.sub(r"\D", "", deviation.id))))
    content["budgets"] = {
        key: make_entry(Budget, {"name": key, **entry}, path)
        for key, entry in content.get("budgets", {}).items()
        if entry
    }  # a budget without content is one that the paper does not take over
    content["artefacts"] = {key: _artefact(key, entry, path) for key, entry in content.get("artefacts", {}).items()}
    if "audit" in content["artefacts"]:
        content["artefacts"]["waterfall"] = waterfall(content["artefacts"]["audit"], content["deviations"])
    return make_entry(Paper, {"id": path.stem, **content}, path)


def _merged(base: Any, own: Any) -> Any:
    """Returns `own` over `base`, mappings key by key."""
    if isinstance(base, dict) and isinstance(own, dict):
        return base | {key: _merged(base[key], value) if key in base else value for key, value in own.items()}
    return own


def _add_everywhere(content: dict, path: Path) -> None:
    """Adds the models of the list `everywhere` to the paper: each names the tables that it gets a row in."""
    for entry in content.pop("everywhere", ()):
        entry = dict(entry)
        if not {"model", "label", "tables"} <= set(entry):
            raise DisentrecError(f"a row of `everywhere` needs model, label and tables: {entry}", where=path)
        model, tables = entry["model"], entry.pop("tables")
        content["models"] = {**content["models"], model: entry}
        for name in set(tables) & set(content.get("artefacts", {})):
            artefact = content["artefacts"][name]
            row = {"id": model, "label": entry["label"], "model": model}
            content["artefacts"] = {**content["artefacts"], name: artefact | {"rows": [*artefact["rows"], row]}}


def _artefact(name: str, entry: dict, path: Path) -> Artefact:
    rows = tuple(make_entry(Row, row, path) for row in entry["rows"])
    datasets = {budget: tuple(names) for budget, names in entry.get("datasets", {}).items()}
    artefact = make_entry(Artefact, {**entry, "id": name, "rows": rows, "datasets": datasets}, path)
    known = {row.id for row in rows}
    mentioned = {
        artefact.reference,
        *(r.against for r in rows),
        *(r.against_without_features for r in rows),
    } - {None}
    if len(known) < len(rows) or not mentioned <= known:
        raise DisentrecError(
            f"artefact {name!r}: row ids repeat, or one that is named does not exist: {sorted(mentioned - known)}",
            where=path,
        )
    return artefact
