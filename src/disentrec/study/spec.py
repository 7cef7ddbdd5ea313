"""RunSpec: everything that decides a run's numbers; its content hash names the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.validation import check_names
from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import check_kinds
from disentrec.training import Training

#: What every spec in a record has.
KINDS = {
    "model": str, "dataset": str, "fingerprint": str, "seed": int, "config": dict, "protocol": dict, "training": dict,
}  # fmt: skip


@dataclass(frozen=True)
class RunSpec:
    """One run: a model with its switches on a data set under a protocol, with one seed."""

    model: str
    dataset: str
    fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    training: Training = field(default_factory=Training)
    seed: int = 0
    budget: str = "demo"
    #: Measure what the model's own paper asks before and after training, and keep what figures need; "truth": what
    #: the embedded shop's truth says of it, after training.
    analyse: bool | str = False
    #: Encoded features the model reads, with their digests; features of the dataset folder are in its fingerprint.
    encoded: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> Any:
        """Returns the model's full configuration; an unknown setting lists the valid ones."""
        return models.configure(self.model, self.settings)

    def canonical(self) -> dict[str, Any]:
        """Returns what is hashed: names, and every setting that differs from its default.

        A setting added later with a default therefore keeps old hashes; a default that changes its value or
        meaning must raise the model's `version`.
        """
        content = {
            "model": self.model,
            "version": getattr(models.get(self.model), "version", 1),
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "settings": changed(self.config()),
            "protocol": changed(self.protocol),
            "training": changed(self.training),
            "seed": self.seed,
            "budget": self.budget,
        }
        if self.encoded:
            content["encoded"] = dict(sorted(self.encoded.items()))
        return content | ({"analyse": self.analyse} if self.analyse else {})

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical content."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Returns the spec with the full configuration, as kept in a record."""
        content = {
            name: getattr(self, name) for name in ("model", "dataset", "fingerprint", "seed", "budget", "analyse")
        }
        return content | {
            **({"encoded": dict(self.encoded)} if self.encoded else {}),
            "config": _plain(asdict(self.config())),
            "protocol": asdict(self.protocol),
            "training": asdict(self.training),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunSpec:
        """Returns the spec of a record; settings the code no longer knows, and odd ones, raise DisentrecError."""
        content = dict(content)
        for key, kind in KINDS.items():
            if not isinstance(content.get(key), kind) or isinstance(content[key], bool) is not (kind is bool):
                raise DisentrecError(f"{key!r} is missing in a spec, or not a {kind.__name__}", how="Delete the record")
        check_names(content["dataset"], (), "the spec of a record")
        content["settings"] = _known(models.get(content["model"]).Config, content.pop("config"), "setting")
        models.configure(content["model"], content["settings"])
        content["protocol"] = Protocol(**_known(Protocol, content["protocol"], "protocol switch"))
        content["training"] = Training(**_known(Training, content["training"], "training setting"))
        return cls(**_known(cls, content, "key of a spec"))


def encoded_for(config: Any, records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns the encoded features that a configuration names, alone or in a list, with their digests."""
    values = vars(config).values()
    named = {name for value in values for name in (value if isinstance(value, tuple) else (value,))}
    return {name: record["sha256"] for name, record in sorted(records.items()) if name in named}


def training_settings(values: Mapping[str, Any]) -> Training:
    """Returns training settings; an unknown name lists the valid ones."""
    return Training(**_known(Training, values, "training setting"))


def _known(kind: type, values: Mapping[str, Any], word: str) -> dict[str, Any]:
    valid = [field.name for field in fields(kind)]
    for name in values:
        if name not in valid:
            raise unknown_name(word, name, valid)
    check_kinds(kind, values)
    return dict(values)


def changed(settings: Any) -> dict[str, Any]:
    """Returns the fields of a settings dataclass that differ from their defaults, as JSON keeps them."""
    defaults = type(settings)()
    values = ((field.name, getattr(settings, field.name)) for field in fields(settings))
    return _plain({name: value for name, value in values if value != getattr(defaults, name)})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values as JSON keeps them (tuples become lists), so a record read back hashes alike."""
    return json.loads(json.dumps(values))
