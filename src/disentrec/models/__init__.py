"""One file per model; a new file that defines a model of either task with a `name` joins the registry by existing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

import torch

from disentrec.errors import DisentrecError, unknown_name
from disentrec.models.base import Catalogue, SessionModel, TopNModel, UserCatalogue
from disentrec.reading import check_kinds

__all__ = ["Catalogue", "SessionModel", "TopNModel", "UserCatalogue", "available", "build", "configure", "get"]

Model = SessionModel | TopNModel


@cache
def _registry() -> dict[str, type[Model]]:
    found: dict[str, type[Model]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        for member in members:
            is_model = (
                isinstance(member, type) and issubclass(member, (SessionModel, TopNModel)) and "name" in vars(member)
            )
            if not is_model or member.__module__ != f"{__name__}.{module.name}":
                continue
            if member.name in found:
                raise DisentrecError(
                    f"two models are named {member.name!r}",
                    where=f"{found[member.name].__module__} and {member.__module__}",
                    how="Give one of them another `name`",
                )
            found[member.name] = member
    return dict(sorted(found.items()))


def available(task: str | None = None) -> tuple[str, ...]:
    """Returns the names of all models, or those of one task ("session", "top-n"), sorted."""
    return tuple(name for name, model in _registry().items() if task in (None, model.task))


def get(name: str) -> type[Model]:
    """Returns the model class of that name; an unknown name lists the valid ones."""
    if name not in _registry():
        raise unknown_name("model", name, available())
    return _registry()[name]


def configure(name: str, settings: Mapping[str, Any]) -> Any:
    """Returns the model's full config with `settings` over its defaults; an unknown setting lists the valid ones."""
    config_type = get(name).Config
    valid = [field.name for field in fields(config_type)]
    for setting in settings:
        if setting not in valid:
            raise unknown_name("setting", setting, valid, where=f"model {name}")
    check_kinds(config_type, settings, where=f"model {name}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return config_type(**values)


def build(name: str, settings: Mapping[str, Any], catalogue: Catalogue | UserCatalogue, seed: int) -> Model:
    """Returns a freshly initialised model; the same arguments give the same parameters, bit for bit."""
    config = configure(name, settings)
    torch.manual_seed(seed)
    return get(name)(config, catalogue)
