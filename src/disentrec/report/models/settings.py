"""The settings of a model as its page shows them: names, defaults and comments of its file, values of its grid."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, NamedTuple

from disentrec import models
from disentrec.study import load_paper, paper_names
from disentrec.study.papers import Paper
from disentrec.training import Training

#: What a setting is whose name says it, so that files leave the comment out.
COMMON = {
    "dim": "Numbers in a row of an item, user or session.",
    "heads": "Heads of the attention.",
    "layers": "Layers, or rounds over the graph.",
    "steps": "Steps over the co-occurrence graph.",
    "dropout": "Share that is dropped while training.",
    "dropout_table": "Dropout on item rows.",
    "dropout_attention": "Dropout inside the attention.",
    "dropout_fusion": "Dropout inside the fusion.",
    "dropout_output": "Dropout on what the fusion gives.",
    "dropout_price": "Dropout on prices.",
    "temperature": "Similarities in the contrast are divided by this.",
    "price_levels": "Levels that prices are cut into.",
    "lists": "Positive and negative items per item in the co-occurrence constraint.",
    "constraint_items": "Items whose co-occurrence constraint is computed in a step; None: all of them.",
    "weight_cooccurrence": "Weight of the co-occurrence constraint.",
    "weight_proxy": "Weight of the proxy loss.",
    "weight_counterfactual": "Weight of the counterfactual loss.",
    "shared_weight": "D9: the one weight of the three terms.",
    "weight_contrast": "Weight of the contrast.",
    "weight_norm": "Weight of the penalty on the length of rows.",
    "weight_intra": "Weight of the classifiers that tell the chunks of a modality apart.",
    "weight_inter": "Weight of the attraction between equal chunks of two modalities.",
    "weight_low": "Weight of the attributes' values, which chunks must give away.",
    "bins": "Levels of price and popularity.",
    "binning": "How levels are cut.",
    "popularity": "Where popularity comes from: sales ranks, counts in train, or the first of these that there is.",
    "fusion": "How modalities become one.",
    "fusion_dim": "Channels inside the fusion; None: `dim`.",
    "pseudo": "The pseudo-modality that each modality is compared with.",
    "tokens": "Tokens that a modality is cut into.",
    "pivots": "Pivots that visit the modalities.",
    "price_binning": "How levels are cut, see `disentrec.models.prices`.",
    "hardest": "Largest scores that count as negatives under M8.",
    "penalty": "Form of the penalty: squared, or a norm as MMRec has it.",
    "hidden": "Width of the GRU's state.",
    "experts": "Experts that adapt the features, mixed by a gate.",
    "training.learning_rate": "Of Adam.",
    "training.weight_decay": "Of Adam.",
    "features": "Features that are read, those of them that the data set has.",
}
TRAINING = "training."


class Setting(NamedTuple):
    """One field of a model's dataclass of settings, or one setting of the training that its grid names."""

    name: str
    default: Any
    note: str
    #: Values that stand in its grid, in their order; empty: not tuned.
    tuned: tuple[Any, ...] = ()


def settings_of(model: str) -> list[Setting]:
    """Returns the settings of a model in the order of its file, then those of the training that its grid names."""
    config = models.get(model).Config
    notes, grid = _notes(config), tuning_grid(model)
    found = [
        Setting(
            field.name, _default(field), notes.get(field.name, COMMON.get(field.name, "")), _tuned(field.name, grid)
        )
        for field in fields(config)
    ]
    named = dict.fromkeys(name for entry in grid for name in entry if name.startswith(TRAINING))
    notes = _notes(Training)
    defaults = {field.name: field.default for field in fields(Training)}
    for name in named:
        key = name.removeprefix(TRAINING)
        found.append(Setting(name, defaults[key], notes.get(key, COMMON.get(name, "")), _tuned(name, grid)))
    return found


def tuning_grid(model: str) -> list[dict[str, Any]]:
    """Returns the configurations a model is tuned over; [] for one that stands in no study."""
    paper = paper_of(model)
    grid = paper.grid(model) if paper else []
    return grid if grid != [{}] else []


def paper_of(model: str) -> Paper | None:
    """Returns the first paper of the model's task that knows the model; all of a task share one grid."""
    task = models.get(model).task
    for name in paper_names():
        paper = load_paper(name)
        if paper.of_users == (task == "top-n") and model in paper.models:
            return paper
    return None


def written(value: Any) -> str:
    """Returns a value as `--set` reads it: `0.1`, `true`, `[text, image]`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else field.default_factory()


def _tuned(name: str, grid: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Returns the distinct values of a setting in a grid, those written alike once."""
    values = {written(entry[name]): entry[name] for entry in grid if name in entry}
    return tuple(values.values())


@cache
def _notes(config: type) -> dict[str, str]:
    """Returns the comment of every field that has one: the `#:` lines above it, else the `#` at the end of its line."""
    lines = inspect.getsource(inspect.getmodule(config)).splitlines()
    tree = ast.parse("\n".join(lines))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == config.__name__)
    found = {}
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        above = []
        for line in reversed(lines[: node.lineno - 1]):
            comment = re.match(r"\s*#: (.*)", line)
            if comment is None:
                break
            above.insert(0, comment[1].strip())
        after = re.search(r"  # (.*)$", lines[node.end_lineno - 1])
        note = " ".join(above) or (after[1] if after else "")
        if note:
            found[node.target.id] = note
    return found
