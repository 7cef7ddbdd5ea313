"""How far every model is from the best possible ranking of the embedded shop, and where the rest is lost.

    share = (metric of the model - metric of popularity) / (metric of the optimum - metric of popularity)

Popularity is the floor because it needs no session and no user. What is lost (optimum less model) is a sum over test
choices, so it can be told apart by the cause of the choice and by how often train holds its target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from disentrec.data.bazaar import CAUSES
from disentrec.evaluation.metrics import per_case, per_user
from disentrec.paths import RESULTS
from disentrec.report import cross, figures, tables
from disentrec.report.chapter import decided
from disentrec.report.cross import FLOORS, METRICS, Bench, Entry, paper_label
from disentrec.report.cross_figures import losses_figure, shares_figure, tenths
from disentrec.study import paper_names
from disentrec.study.cases import known_cases

#: Bounds of the buckets of "how often does train hold the target": 0, 1 to 9, and so on.
BUCKETS = (1, 10, 20, 40)
OPTIMUM = {"session": "oracle_rank_all", "top-n": "user_oracle_rank_all"}


@dataclass(frozen=True)
class Share:
    """A share of what can be achieved, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{whole(self.value)} [{whole(self.low)}, {whole(self.high)}]"


def whole(value: float) -> str:
    """Returns a fraction as whole percent, with a true minus sign and no minus zero."""
    return f"{round(100 * value)}".replace("-", "−")


def share_of(scores: np.ndarray, floor: np.ndarray, best: np.ndarray, *, reps: int = 2000, seed: int = 0) -> Share:
    """Returns the share of what can be achieved between floor and best, resampling test cases and seeds.

    scores: (seeds, cases); floor and best: (cases,), of the same cases, which are drawn alike for all three.
    """
    rng, (n_seeds, n_cases) = np.random.default_rng(seed), scores.shape
    weights = rng.multinomial(n_cases, np.full(n_cases, 1 / n_cases), size=reps) / n_cases  # (reps, cases)
    drawn = rng.integers(n_seeds, size=(reps, n_seeds))
    own = np.take_along_axis(weights @ scores.T, drawn, axis=1).mean(1)
    low, high = np.quantile((own - weights @ floor) / (weights @ best - weights @ floor), [0.025, 0.975])
    value = (scores.mean() - floor.mean()) / (best.mean() - floor.mean())
    return Share(float(value), float(low), float(high))


def contributions(ranks: np.ndarray, metric: str, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns what every test choice adds to a metric, (choices,); the sum is the metric.

    counts: (users,), how many choices each user has, for recall; None for sessions, which have one each.
    """
    if counts is None:
        return per_case(ranks, metric) / len(ranks)
    _, _, cutoff = metric.partition("@")
    return (ranks <= int(cutoff)) / np.repeat(counts, counts) / len(counts)


def losses(own: np.ndarray, best: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Returns what is lost per group, (groups,); own and best: contributions, (choices,). The sum is best - own."""
    return np.bincount(groups, best - own, minlength=n_groups)


def bucket_names() -> list[str]:
    """Returns the printed names of the buckets of popularity."""
    between = [f"{low}–{high - 1}" for low, high in pairwise(BUCKETS)]
    return ["never", *between, f"{BUCKETS[-1]} or more"]


@dataclass(frozen=True)
class Shop:
    """A bench on the shop with its optimum: `best` scores a metric over cases, `ranks` are those of every choice."""

    bench: Bench
    facts: dict[str, np.ndarray]

    @property
    def counts(self) -> np.ndarray | None:
        """How many test choices each user has, (users,); None for sessions."""
        if self.bench.task == "session":
            return None
        return np.unique(self.facts["pair_user"], return_counts=True)[1]

    @property
    def ranks(self) -> np.ndarray:
        """The optimal rank of every test choice."""
        return self.facts[OPTIMUM[self.bench.task]]

    def best(self, metric: str) -> np.ndarray:
        """Returns the optimum's scores, (cases,)."""
        return per_case(self.ranks, metric) if self.counts is None else per_user(self.ranks, self.counts, metric)

    @cached_property
    def shares(self) -> dict[str, dict[str, Share]]:
        """The share of every row in both metrics: metric -> row -> share."""
        floor = self.bench.entries[FLOORS[self.bench.task]]
        return {
            metric: {
                entry.id: share_of(entry.scores(metric), floor.scores(metric)[0], self.best(metric))
                for entry in self.bench.entries.values()
            }
            for metric in METRICS[self.bench.task]
        }

    def lost(self, entry: Entry, groups: np.ndarray, n_groups: int) -> np.ndarray:
        """Returns what a row loses per group of choices, mean over seeds."""
        metric = METRICS[self.bench.task][0]
        best = contributions(self.ranks, metric, self.counts)
        own = [contributions(r.arrays["test_rank"], metric, self.counts) for r in entry.result.records]
        return losses(np.mean(own, 0), best, groups, n_groups)

    def buckets(self) -> np.ndarray:
        """Returns the bucket of popularity of every test choice's target."""
        name = "target_frequency" if self.bench.task == "session" else "pair_frequency"
        return np.digitize(self.facts[name], BUCKETS)


class Distance:
    """The page: every method returns the output of one cell."""

    def __init__(
        self, *, budgets: Sequence[str] = ("demo",), datasets: Sequence[str] = (), store: str | Path = ""
    ) -> None:
        self.store = Path(store) if store else RESULTS
        found = [bench for task in OPTIMUM for bench in cross.benches(self.store, task, budgets, datasets)]
        known = [Shop(bench, known_cases(bench.store, bench.dataset)) for bench in found]
        self.shops = [s for s in known if OPTIMUM[s.bench.task] in s.facts and FLOORS[s.bench.task] in s.bench.entries]

    def tables(self) -> Markdown | None:
        """Returns one table per task: every row, two metrics, and the share of what can be achieved in each."""
        shown = []
        for shop in self.shops:
            bench, metrics = shop.bench, METRICS[shop.bench.task]
            rows = []
            for entry in self._by_share(shop):
                cells = [entry.label, entry.family]
                for metric in metrics:
                    cells += [tables.percent(entry.mean(metric)), str(shop.shares[metric][entry.id])]
                rows.append([*cells, f"{len(entry.result.records)}"])
            best = ["*Optimum*", ""]
            for metric in metrics:
                best += [f"*{tables.percent(float(shop.best(metric).mean()))}*", "*100*"]
            titles = [tables.metric_title(metric) for metric in metrics]
            header = ["", "family", titles[0], "share, %", titles[1], "share, %", "seeds"]
            caption = (
                f"{bench.title}: every row under one protocol, best share first. Percent; shares of what lies between"
                f" {bench.entries[FLOORS[bench.task]].label} and the optimum, with 95 % intervals over cases and seeds."
            )
            shown.append(tables.myst_table(header, [*rows, [*best, ""]], caption, f"tbl-optimum-{bench.slug}"))
        return tables.show(*shown)

    def figures(self) -> Markdown | None:
        """Returns one figure per task: the shares, sorted, coloured by family."""
        parts = []
        for shop in self.shops:
            metric, title = METRICS[shop.bench.task][0], shop.bench.title
            shown = [(entry, shop.shares[metric][entry.id]) for entry in self._by_share(shop)]
            lines = [(entry.label, entry.family, share.value, share.low, share.high) for entry, share in shown]
            caption = (
                f"Share of the achievable {tables.metric_title(metric)} on {title}. 0 is popularity, 100 the optimum."
                " Bars: 95 % intervals over cases and seeds."
            )
            alt = f"Dot plot of shares on {title}, percent: " + ", ".join(
                f"{entry.label} {whole(share.value)}" for entry, share in shown
            )
            drawing = shares_figure(lines, f"share of the achievable {tables.metric_title(metric)}, percent")
            parts.append(figures.myst_figure(drawing, f"optimum-shares-{shop.bench.slug}", caption, alt))
        return tables.show(*parts)

    def by_cause(self) -> Markdown | None:
        """Returns a heat table: what every row loses by the true cause of the choice; of sessions, where it is kept."""
        shown = [
            self._heat(shop, shop.facts["cause"], CAUSES, "cause", "by the true cause of the choice")
            for shop in self.shops
            if "cause" in shop.facts and shop.bench.task == "session"
        ]
        return tables.show(*shown)

    def by_popularity(self) -> Markdown | None:
        """Returns a heat table per task: what every row loses by how often train holds the target."""
        what = "by how often train holds the target"
        return tables.show(*(self._heat(s, s.buckets(), bucket_names(), "popularity", what) for s in self.shops))

    def found(self) -> Markdown | None:
        """Returns a few sentences per task: who is nearest, where the papers stand, and what the nearest one lacks."""
        lines = []
        for shop in self.shops:
            metric = METRICS[shop.bench.task][0]
            order = self._by_share(shop)
            shares = shop.shares[metric]
            first = order[0]
            own = [entry for entry in order if entry.id in paper_names()]
            text = (
                f"- **{shop.bench.title}.** Nearest to the optimum is {first.label}: {shares[first.id]} % of the"
                f" achievable {tables.metric_title(metric)}. Of the papers, "
                + "; ".join(f"{e.label} has {shares[e.id]} % (place {order.index(e) + 1})" for e in own)
                + f", of {len(order)} rows."
            )
            for groups, names, what in self._groupings(shop):
                lost = shop.lost(first, groups, len(names))
                worst = int(lost.argmax())
                text += (
                    f" Of the {tenths(100 * lost.sum())} points that {first.label} lacks, most are lost in choices"
                    f" {what.format(names[worst])}: {tenths(100 * lost[worst])} points, in"
                    f" {whole((groups == worst).mean())} % of the choices."
                )
            lines.append(text)
        return tables.show("\n".join(lines))

    def ideas(self) -> Markdown | None:
        """Returns a table of the four ideas: share, the nearest row that is none of the papers', and claims held."""
        entries, rows = decided(self.store), []
        for shop in self.shops:
            metric = METRICS[shop.bench.task][0]
            order = self._by_share(shop)
            rival = next(entry for entry in order if entry.family != "the four papers")
            for name in (name for name in paper_names() if name in shop.bench.entries):
                verdicts = [item["verdict"] for item in entries if item["paper"] == name]
                counts = [f"{verdicts.count(word)}" for word in ("reproduced", "partly", "not reproduced")]
                mine, other = (str(shop.shares[metric][row]) for row in (name, rival.id))
                rows.append([paper_label(name), shop.bench.title, mine, f"{rival.label}: {other}", " / ".join(counts)])
        header = ["", "data", "share, %", "nearest other row", "claims reproduced / partly / not"]
        caption = (
            "Which of the four ideas pays: the share of what can be achieved that each reaches, beside the nearest row"
            " of no paper, and what became of all its claims."
        )
        return tables.show(tables.myst_table(header, rows, caption, "tbl-optimum-ideas")) if rows else None

    def _by_share(self, shop: Shop) -> list[Entry]:
        return shop.bench.ordered(METRICS[shop.bench.task][0])  # a share grows with the metric

    def _groupings(self, shop: Shop) -> list[tuple[np.ndarray, Sequence[str], str]]:
        found = [(shop.buckets(), bucket_names(), "whose target train holds *{}* times")]
        if "cause" in shop.facts and shop.bench.task == "session":
            found.insert(0, (shop.facts["cause"], CAUSES, "made by *{}*"))
        return found

    def _heat(self, shop: Shop, groups: np.ndarray, names: Sequence[str], slug: str, what: str) -> str:
        bench, metric = shop.bench, METRICS[shop.bench.task][0]
        order = self._by_share(shop)
        values = 100 * np.stack([shop.lost(entry, groups, len(names)) for entry in order])
        part = [f"{name}\n{whole((groups == number).mean())} %" for number, name in enumerate(names)]
        drawing = losses_figure(values, [entry.label for entry in order], part)
        title = tables.metric_title(metric)
        caption = (
            f"Points of {title} lost against the optimum on {bench.title}, {what}. A row adds up to its whole distance,"
            " in the last column; below a heading stands its share of the choices. Less than zero: more than the"
            " optimum gets there, paid for elsewhere."
        )
        alt = f"Heat table of {title} points lost on {bench.title}, {what}. " + "; ".join(
            f"{entry.label}: " + ", ".join(f"{name} {tenths(value)}" for name, value in zip(names, line, strict=True))
            for entry, line in zip(order, values, strict=True)
        )
        return figures.myst_figure(drawing, f"optimum-{slug}-{bench.slug}", caption, alt)
