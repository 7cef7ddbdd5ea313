"""Ways to train faster that are left to the user, or left alone: shorter numbers, a compiler, joint seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.display import Markdown
from scipy.stats import t

from disentrec.paths import ROOT
from disentrec.report import tables
from disentrec.report.across.costs_figures import label, milliseconds
from disentrec.report.across.cross import labels
from disentrec.report.endurance import measurement
from disentrec.report.tables import metric_title, signed

NOT_MEASURED = "Not measured yet: `python -m benchmarks {}`."
#: A mean difference is called clear if its interval at this level leaves out zero.
LEVEL = 0.95


class Shortcuts:
    """The section: every method returns the output of one cell, computed from the JSON records of benchmarks/."""

    def __init__(self, folder: str | Path) -> None:
        self.precision = measurement(ROOT / folder, "precision")
        self.engines = measurement(ROOT / folder, "engines")

    def precision_table(self) -> Markdown | None:
        """Returns what whole runs in shorter numbers gain and lose, by model."""
        rows = []
        for name, precision, found in self._shorter():
            full = self.precision["models"][name]
            rows.append([
                label(name), precision, metric_title(full["metric"]), f"{full['float32']['points']:.2f}",
                f"{signed(found['difference'] / 100)} ± {found['standard_error']:.2f}", f"{found['largest']:.2f}",
                f"{full['spread']:.2f}", f"{found['epoch_s'] / full['float32']['epoch_s']:.2f}",
            ])  # fmt: skip
        if not rows:
            return None
        header = ["", "numbers", "metric", "in float32", "difference", "largest", "spread of seeds", "time of an epoch"]
        caption = (
            f"Whole runs whose layers multiply shorter numbers in training, beside runs in float32 with the same"
            f" {self.precision['seeds']} seeds: points on test, mean difference with its standard error, the largest,"
            " the standard deviation of seeds in float32, and how long an epoch takes as a share of float32's."
        )
        return tables.show(tables.myst_table(header, rows, caption, "tbl-costs-precision"))

    def precision_reading(self) -> Markdown:
        """Returns for which models results allow it, and where it saves time."""
        found = self._shorter()
        if not found:
            return tables.show(NOT_MEASURED.format("precision"))
        said, errors = [], t.ppf((1 + LEVEL) / 2, self.precision["seeds"] - 1)
        for precision in dict.fromkeys(precision for _, precision, _ in found):
            own = {name: entry for name, kind, entry in found if kind == precision}
            moved = [label(n) for n, one in own.items() if abs(one["difference"]) > errors * one["standard_error"]]
            models = self.precision["models"]
            faster = [label(n) for n, one in own.items() if one["epoch_s"] < 0.95 * models[n]["float32"]["epoch_s"]]
            what = f"the mean of {labels(moved)} is clearly off" if moved else "no mean is clearly off"
            said.append(
                f"In {precision}, {what} ({100 * LEVEL:.0f} %, Student's t over seeds); an epoch is shorter for"
                f" {labels(faster) or 'no model'}."
            )
        where = self.precision["environment"]
        return tables.show(f"{' '.join(said)} Measured on {_machine(where)}; {_no_gpu(where)}".rstrip())

    def engine_table(self) -> Markdown | None:
        """Returns milliseconds of a step as the package trains, compiled, and of several seeds at once."""
        rows, paid = [], self._paid()
        for name, found in self.engines.get("models", {}).items():
            compiled, batched = found["compiled"], found["batched"]
            rows.append([
                label(name), milliseconds(found["eager_ms"]),
                milliseconds(compiled["ms"]) if "ms" in compiled else "refused",
                f"{compiled['compile_s']:.0f}" if "ms" in compiled else "–",
                f"{paid[name]:,.0f}" if name in paid else "–",
                milliseconds(batched["ms_per_seed"]) if "ms_per_seed" in batched else "refused",
            ])  # fmt: skip
        if not rows:
            return None
        header = ["", "as trained", "compiled", "compiling, s", "paid for after, steps", "per seed"]
        caption = (
            f"Milliseconds of a training step of {self.engines['batch_size']:,} cases: as the package trains; under"
            " torch.compile, with the seconds that this takes at first and the steps after which they are saved; and"
            f" of {self.engines['seeds']} seeds as one model by torch.func.vmap, for each. Refused: torch cannot."
        )
        return tables.show(tables.myst_table(header, rows, caption, "tbl-costs-engines"))

    def engine_reading(self) -> Markdown:
        """Returns what either saves, and after how many steps a compiler has paid for itself."""
        models = self.engines.get("models", {})
        if not models:
            return tables.show(NOT_MEASURED.format("engines"))
        paid = self._paid()
        if paid:
            gain = {name: models[name]["eager_ms"] / models[name]["compiled"]["ms"] for name in paid}
            most, soonest = max(gain, key=gain.__getitem__), min(paid, key=paid.__getitem__)
            faster = labels([label(name) for name in paid])
            said = [
                f"A compiled step is shorter than one as trained for {faster}; most of all for {label(most)}, by a"
                f" factor of {gain[most]:.1f}. Soonest, compiling has paid for itself for {label(soonest)}, after"
                f" {paid[soonest]:,.0f} steps."
            ]
        else:
            said = ["No compiled step is shorter than one as trained."]
        asked = {name: found["batched"] for name, found in models.items()}
        mapped = {name: models[name]["eager_ms"] / b["ms_per_seed"] for name, b in asked.items() if "ms_per_seed" in b}
        if mapped:
            ratios = ", ".join(f"{label(name)} ×{ratio:.2f}" for name, ratio in mapped.items())
            said.append(f"Seeds as one model train this many times as fast as one after the other: {ratios}.")
        refused = [label(name) for name, batched in asked.items() if "refused" in batched]
        if refused:
            said.append(f"{labels(refused)} cannot be mapped over seeds: they draw masks or sum over neighbours by")
            said.append("operators that `vmap` does not know, or read sessions, of another shape for every seed.")
        where = self.engines["environment"]
        return tables.show(f"{' '.join(said)} Measured on {_machine(where)}; {_no_gpu(where)}".rstrip())

    def _paid(self) -> dict[str, float]:
        """Returns after how many steps compiling has saved what it took, for the models whose steps it shortens."""
        found = {}
        for name, entry in self.engines.get("models", {}).items():
            saved = entry["eager_ms"] - entry["compiled"].get("ms", float("inf"))
            if saved > 0:
                found[name] = 1000 * entry["compiled"]["compile_s"] / saved
        return found

    def _shorter(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Returns (model, precision, what was measured) for all but float32."""
        models = self.precision.get("models", {})
        return [
            (name, precision, found[precision])
            for name, found in models.items()
            for precision in ("tf32", "bf16")
            if precision in found
        ]


def _machine(where: dict[str, Any]) -> str:
    device = where["cpu"] if where["device"] == "cpu" else where["device"]
    return f"{where['threads']} thread of {device}, torch {where['torch']}"


def _no_gpu(where: dict[str, Any]) -> str:
    """Returns what to run where nothing was measured on a GPU."""
    return "no GPU was at hand: `--device cuda` measures one." if where["device"] == "cpu" else ""
