"""What a model costs, taken apart: stages, shares of the machine's ceilings, ratios to released code, reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.display import Markdown

from disentrec.paths import ROOT
from disentrec.report import figures, tables
from disentrec.report.across.costs_figures import (
    STEP,
    ceiling_figure,
    label,
    memory_figure,
    milliseconds,
    peer_figure,
    step_figure,
    times,
)
from disentrec.report.across.cross import labels
from disentrec.report.endurance import measurement

#: Stages whose work is counted.
WORK = {"loss": "loss", "backward": "gradients", "forward": "scores", "evaluation": "ranking"}
#: The share of its floor that a training step, and a ranking, should reach.
TARGET, RANKING = 0.5, 0.6
NOT_MEASURED = "Not measured yet: `python -m benchmarks {}`."
#: Record, model, what is compared, where our seconds are and where theirs.
PEERS = (
    ("dimo_speed", "dimo", "DIMO, training epoch", ("exact_batch_50", "epoch_s"), ("peer", "epoch_s")),
    ("dimo_speed", "dimo", "DIMO, ranking of test", ("exact_batch_50", "test_pass_s"), ("peer", "test_pass_s")),
    ("mmsbr_speed", "mmsbr", "MMSBR, training step", ("exact_batch_100", "step_s"), ("peer", "step_s")),
    ("mmsbr_speed", "mmsbr", "MMSBR, ranking of test", ("exact_batch_100", "test_pass_s"), ("peer", "test_pass_s")),
    ("addrl_ranking", "addrl", "AD-DRL, ranking of all users", ("full_ranking", "seconds"), ("released", "seconds")),
    ("idsf_contrast", "idsf", "IDSF, contrast of a step", ("ours", "step_s"), ("released", "step_s")),
    ("lightgcn_speed", "lightgcn", "LightGCN of MMRec, epoch", ("training", "epoch_s"), ("peer", "epoch_s")),
    ("lightgcn_speed", "lightgcn", "LightGCN of MMRec, ranking", ("validation", "seconds"), ("peer", "validation_s")),
)  # fmt: skip

#: What is shown of a size, with its decimals; and what is meant to grow no faster than the interactions.
GROWTH = (("step_ms", 0), ("epoch_of_49_steps_s", 1), ("evaluation_s", 2), ("peak_mb", 0), ("epoch_s", 1))
LINEAR = {"a step": "step_ms", "an epoch of 49 steps": "epoch_of_49_steps_s", "a ranking": "evaluation_s"}


class Measurements:
    """The page: every method returns the output of one cell, computed from the JSON records of benchmarks/."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = ROOT / folder
        self.stages, self.large = measurement(self.folder, "stages"), measurement(self.folder, "large")
        self.growth = measurement(self.folder, "users_scaling")

    def conditions(self) -> Markdown:
        """Returns machine, data and ceilings behind the stages."""
        found = self.stages
        if not found:
            return tables.show(NOT_MEASURED.format("stages"))
        ceilings, where = found["ceilings"], found["environment"]
        shared = f" The machine was shared, with a load of {found['load_average']}:" if found["shared_machine"] else ""
        read = " a factor of two may be chance, in the ceilings and so in the shares, too." if shared else ""
        return tables.show(
            f"Stages were measured on {tables.dataset_title(found['data'])}, {where['threads']} thread of"
            f" {where['cpu']}, torch {where['torch']}; means of {found['batches_timed']} batches, of each the fastest"
            f" of {found['rounds']} rounds or more. In the same run the machine multiplied matrices at"
            f" {ceilings['product_gflops']:,.0f} GFLOP/s and copied at {ceilings['copy_gbytes_per_s']:.0f} GB/s, read"
            f" and written.{shared}{read}"
        )

    def step_figure(self) -> Markdown | None:
        """Returns the stages of a training step as shares of it."""
        steps = self._steps()
        if not steps:
            return None
        named = [f"{label(name)} {sum(step.values()):.1f} ms" for name, step in steps.items()]
        caption = "Share of each stage in a training step; at the right the milliseconds of a step. Models of sessions"
        caption += (
            " and of users, from the cheapest to the dearest step; steps differ in their batches between the two."
        )
        alt = f"Stacked bars of drawing, loss, gradients and optimiser. A step takes {', '.join(named)}."
        return tables.show(figures.myst_figure(step_figure(steps), "costs-steps", caption, alt))

    def stage_table(self) -> Markdown | None:
        """Returns milliseconds by model and stage."""
        rows = []
        for name, entry in self._ordered():
            ms = {stage: found["ms"] for stage, found in entry["stages"].items()}
            cells = [
                milliseconds(ms[stage]) if stage in ms else "–" for stage in ("load", *STEP, "forward", "evaluation")
            ]
            epoch = sum(ms[stage] for stage in STEP) * entry["steps_of_an_epoch"] / 1000 if "loss" in ms else None
            rows.append([label(name), *cells, "–" if epoch is None else f"{epoch:.2f}"])
        header = ["", "load", *STEP.values(), "scores", "ranking", "epoch, s"]
        caption = "Milliseconds of every stage: loading and splitting the data once, a training step of 512 cases, the"
        caption += " scores of one batch, ranking the validation part once; and the seconds of an epoch of such steps."
        return self._table(header, rows, caption, "stages")

    def ceiling_figure(self) -> Markdown | None:
        """Returns how near each model's step and ranking are to their floors."""
        shares = self._shares()
        if not shares:
            return None
        said = "; ".join(
            f"{title}: " + ", ".join(f"{label(name)} {share:.2f}" for name, share in found.items())
            for title, found in shares.items()
        )
        targets = dict(zip(shares, (TARGET, TARGET, RANKING), strict=True))
        aims = f"{_percent(TARGET)} of a training step and {_percent(RANKING)} of a ranking"
        caption = "The floor as a share of the time taken. One: as fast as the machine can; above it, the caches"
        caption += f" helped. The thin lines are what we aim for, {aims}."
        alt = f"Dot plots of the floor's share of the time. {said}."
        return tables.show(figures.myst_figure(ceiling_figure(shares, targets), "costs-ceilings", caption, alt))

    def work_table(self) -> Markdown | None:
        """Returns operations and bytes by model and stage, with their shares."""
        rows = []
        for name, entry in self._ordered():
            for stage, title in WORK.items():
                found = entry["stages"].get(stage, {})
                if "loss" in entry["stages"]:
                    floor, share = milliseconds(found["floor_ms"]), tables.percent(_floor(entry["stages"], (stage,)), 0)
                    counts = f"{found['mflop']:,.0f}", f"{found['mbytes']:,.0f}"
                    rows.append([f"{label(name)}, {title}", *counts, milliseconds(found["ms"]), floor, share])
        header = ["", "MFLOP", "MB", "taken, ms", "floor, ms", "floor / taken, %"]
        return self._table(header, rows, "Counted work of the stages, the time taken and its floor.", "work")

    def floor_reading(self) -> Markdown | None:
        """Returns which models' steps and rankings take more than twice their floor."""
        shares = self._shares()
        if not shares:
            return None
        below = []
        for found, least in zip(shares.values(), (TARGET, TARGET, RANKING), strict=True):
            slow = [label(name) for name, share in found.items() if share < least]
            below.append(f"below it {'is' if len(slow) == 1 else 'are'} {labels(slow)}" if slow else "none is below it")
        entry = next(iter(self._trained().values()))
        trained, filled = entry["batch_size"], entry["filled"]["batch_size"]
        return tables.show(
            f"A training step should reach {_percent(TARGET)} of its floor with batches that fill a core. With"
            f" {filled:,} cases, {below[1]}. With {trained:,}, as most models are trained here, {below[0]}. A ranking"
            f" should reach {_percent(RANKING)} of its floor; {below[2]}. {self._slow_products()}".rstrip()
        )

    def _trained(self) -> dict[str, dict]:
        """Returns the models that are trained."""
        return {name: entry for name, entry in self._ordered() if "loss" in entry["stages"]}

    def _shares(self) -> dict[str, dict[str, float]]:
        """Returns the floor's share of a step, of one with a batch that fills a core, and of a ranking, by model."""
        found: dict[str, dict[str, float]] = {}
        for name, entry in self._trained().items():
            filled = entry["filled"]
            for title, stages, names in (
                (f"step, {entry['batch_size']:,} cases", entry["stages"], tuple(STEP)),
                (f"step, {filled['batch_size']:,} cases", filled["stages"], tuple(STEP)),
                ("ranking", entry["stages"], ("evaluation",)),
            ):
                found.setdefault(title, {})[name] = _floor(stages, names)
        return found

    def _slow_products(self) -> str:
        """Returns what is to be said where torch's own product is far from the ceiling, as it is on AMD processors."""
        best, own = (self.stages["ceilings"][name] for name in ("product_gflops", "matmul_gflops"))
        if own > 0.8 * best:
            return ""
        return (
            f"Layers multiply by oneDNN, because the library behind torch's own products reaches {own:,.0f} of its"
            f" {best:,.0f} GFLOP/s here. The many small products of an attention are still left to torch."
        )

    def peer_figure(self) -> Markdown | None:
        """Returns how many times as long the released programs take."""
        peers = self._peers()
        if not peers:
            return None
        caption = "How many times as long the released program takes for the same work in the same run (log scale)."
        alt = "Dot plot of ratios: " + ", ".join(f"{p['what']} {times(p['ratio'])}" for p in peers) + "."
        return tables.show(figures.myst_figure(peer_figure(peers), "costs-peers", caption, alt))

    def peer_table(self) -> Markdown | None:
        """Returns ours, theirs and the ratio."""
        rows = [
            [p["what"], p["data"], f"{p['ours']:,.2f}", f"{p['theirs']:,.2f}", times(p["ratio"]), p["commit"]]
            for p in self._peers()
        ]
        header = ["", "data", "here, s", "released, s", "ratio", "commit of the peer"]
        caption = (
            "Seconds of the same work, here and by the released program, on a CPU; each row one run of both. What the"
        )
        caption += " released programs take for an epoch or a ranking is mostly a few batches times their number."
        return self._table(header, rows, caption, "peers")

    def growth_table(self) -> Markdown | None:
        """Returns LightGCN's cost at every size, and the slope of its logarithm on that of the interactions."""
        if not self.growth:
            return None
        shown = (("interactions", 0), ("n_users", 0), *GROWTH)
        rows = [[f"{size[key]:,.{places}f}" for key, places in shown] for size in self.growth["sizes"]]
        rows.append(["*slope*", "", *(f"*{self.growth['slopes'][key]:.2f}*" for key, _ in GROWTH)])
        header = [
            "interactions",
            "users",
            "step, ms",
            "epoch, s",
            "ranking, s",
            "peak, MiB",
            "epoch of fixed batches, s",
        ]
        caption = (
            "What LightGCN costs by the number of interactions: a step of 2,048 pairs; an epoch of 49 steps, whose"
            " batches grow along; a ranking of 2,000 users; the peak of the process; and an epoch of batches of 2,048."
        )
        return self._table(header, rows, caption, "growth")

    def growth_reading(self) -> Markdown:
        """Returns how cost grows, and why an epoch of fixed batches grows faster."""
        if not self.growth:
            return tables.show(NOT_MEASURED.format("users_scaling -- --large"))
        found, where = self.growth, self.growth["environment"]
        linear = {name: found["slopes"][key] for name, key in LINEAR.items()}
        above = labels([name for name, value in linear.items() if value > found["target"]])
        verdict = f"Above {found['target']} is {above}." if above else f"None of the three is above {found['target']}."
        return tables.show(
            "A slope of 1 is linear growth. From the smallest size to the largest it is "
            + ", ".join(f"{value:.2f} for {name}" for name, value in linear.items())
            + f". {verdict} An epoch of batches that do not grow has a slope of {found['slopes']['epoch_s']:.2f} by the"
            " model's definition: each of its steps passes over all interactions, and there are as many steps as the"
            f" interactions hold batches. {where['threads']} thread of {where['cpu']}, {found['n_items']:,} items,"
            f" {found['pairs_per_user']} interactions a user, drawn with the embedded shop's constants; steps were"
            " sampled and multiplied."
        )

    def large_table(self) -> Markdown | None:
        """Returns the bytes that an interaction, a user and an item add, and what the whole would need."""
        rows = []
        for name, found in self._large():
            added, check = found["bytes_per"], found["check"]
            rows.append([
                label(name), *(f"{added[part]:,.0f}" for part in ("interaction", "user", "item")),
                f"{check['predicted_mb']:,} / {check['measured_mb']:,}",
                f"{_gigabytes(found['predicted_mb']):.1f} / "
                + (f"{_gigabytes(found['whole']['all_mb']):.1f}" if "whole" in found else "–"),
            ])  # fmt: skip
        header = ["", "bytes per interaction", "per user", "per item", "check, MiB", "whole, GB"]
        caption = (
            "Peak memory of training and ranking, predicted / measured: of a size that the model was not fitted to,"
        )
        caption += " and of the whole."
        return self._table(header, rows, caption, "large")

    def large_figure(self) -> Markdown | None:
        """Returns the predicted memory of the whole by what it is for."""
        parts = {name: self._parts(found) for name, found in self._large()}
        if not parts:
            return None
        budget = self.large["budget_mb"] / 1000
        caption = f"Predicted peak at the whole size, and the {budget:.0f} GB it should stay below."
        said = "; ".join(
            f"{label(name)}: " + ", ".join(f"{part} {value:.1f} GB" for part, value in found.items())
            for name, found in parts.items()
        )
        return tables.show(
            figures.myst_figure(memory_figure(parts, budget), "costs-large", caption, f"Stacked bars. {said}.")
        )

    def large_reading(self) -> Markdown:
        """Returns what the cost model says, and what it does not."""
        if not self.large:
            return tables.show(NOT_MEASURED.format("large"))
        size, found = self.large["large"], dict(self._large())
        fits = labels([label(name) for name, entry in found.items() if entry["fits"]])
        off = max(abs(e["check"]["predicted_mb"] / e["check"]["measured_mb"] - 1) for e in found.values())
        verdict = f"By this model {self.large['budget_mb'] / 1000:.0f} GB are enough for {fits or 'no model'}"
        block, weighed = self.large["block"], self.large["choices_times_items_of_the_shop"]
        made = self._whole(found)
        return tables.show(
            f"The whole is {size['interactions']:,} interactions of {size['users']:,} users with {size['items']:,}"
            f" items. {made} Sizes from 1/{self.large['share']} of it to {self.large['factor']} times that"
            f" were run and a cost model was fitted to them; it missed a further size by {tables.percent(off, 0)} % at"
            f" most. {verdict}. Ranking works block by block: only the scores of {block} users are held at a time, and"
            " these are most of what an additional item costs. Seconds are not extrapolated, because small tables fit"
            " the caches. The pairs are drawn with the embedded shop's constants. The shop itself weighs every item at"
            f" every choice, {weighed:.0e} weights at this size, and was not made for it."
            " `python -m benchmarks large -- --full` runs the whole."
        )

    def _whole(self, found: dict[str, dict]) -> str:
        """Returns what building, training and ranking the whole took, for the models for which it was run."""
        made = {name: entry["whole"] for name, entry in found.items() if "whole" in entry}
        if not made:
            return "It was **not run**."
        said = "; ".join(
            f"{label(name)} took {_gigabytes(one['all_mb']):.1f} GB at its peak, {one['build_s']:.0f} s to build,"
            f" {one['step_ms'] / 1000:.1f} s for a step of {self.large['batch_size']:,} pairs and"
            f" {one['ranking_s']:.1f} s to rank all items for {one['ranked_users']:,} users"
            for name, one in made.items()
        )
        shared = ", beside other work on the same machine" if self.large["shared_machine"] else ""
        return f"It was run for a few steps and one ranking{shared}: {said}."

    def _ordered(self) -> list[tuple[str, dict]]:
        """Returns the models, those of sessions first, by their step."""

        def step(entry: dict) -> float:
            return sum(entry["stages"].get(stage, {}).get("ms", 0.0) for stage in STEP)

        found = self.stages.get("models", {}).items()
        return sorted(found, key=lambda item: (item[1]["task"] != "session", step(item[1])))

    def _steps(self) -> dict[str, dict[str, float]]:
        return {
            name: {stage: entry["stages"][stage]["ms"] for stage in STEP}
            for name, entry in self._ordered()
            if "loss" in entry["stages"]
        }

    def _peers(self) -> list[dict[str, Any]]:
        """Returns the comparisons whose record holds a peer."""
        found = []
        for name, model, what, (ours, key), (theirs, other) in PEERS:
            record = measurement(self.folder, name)
            if other not in record.get(theirs, {}):
                continue
            mine, peer = record[ours][key], record[theirs][other]
            commit = record[theirs].get("commit") or record[theirs].get("operations", "").removeprefix("commit ")
            entry = {"model": model, "what": what, "data": record["data"], "ours": mine, "theirs": peer}
            found.append({**entry, "ratio": peer / mine, "commit": commit or "–"})
        return found

    def _large(self) -> list[tuple[str, dict]]:
        return list(self.large.get("models", {}).items())

    def _parts(self, found: dict) -> dict[str, float]:
        counts = {"interaction": "interactions", "user": "users", "item": "items"}
        added = {part: found["bytes_per"][part] * self.large["large"][count] / 1e9 for part, count in counts.items()}
        rest = _gigabytes(found["predicted_mb"]) - sum(added.values())  # imports, and what grows with nothing
        return {"rest": rest, **added}

    def _table(self, header: list[str], rows: list[list[str]], caption: str, name: str) -> Markdown | None:
        return tables.show(tables.myst_table(header, rows, caption, f"tbl-costs-{name}")) if rows else None


def _floor(found: dict, stages: tuple[str, ...]) -> float:
    """Returns the floor of some stages together as a share of the time they took."""
    floor, taken = (sum(found[stage][key] for stage in stages) for key in ("floor_ms", "ms"))
    return floor / taken


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _gigabytes(mib: float) -> float:
    """Returns a peak in GB; the records count in MiB."""
    return mib * 2**20 / 1e9
