"""The page on the distance of every model to the best possible ranking of the embedded shop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from disentrec.data.bazaar import CAUSES
from disentrec.errors import DisentrecError
from disentrec.evaluation.metrics import per_case, per_user
from disentrec.evaluation.significance import holm, paired_bootstrap
from disentrec.paths import RESULTS
from disentrec.report import figures, tables
from disentrec.report.across import cross
from disentrec.report.across.achievable import BUCKETS, Share, bucket_names, contributions, losses, share_of, whole
from disentrec.report.across.cross import FLOORS, METRICS, TASK_TITLES, Bench, Entry
from disentrec.report.across.cross_figures import losses_figure, shares_figure, tenths
from disentrec.report.chapter import decided
from disentrec.study import paper_names
from disentrec.study.cases import known_cases

OPTIMUM = {"session": "oracle_rank_all", "top-n": "user_oracle_rank_all"}


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
        self._check(entry)
        own = [contributions(r.arrays["test_rank"], metric, self.counts) for r in entry.result.records]
        return losses(np.mean(own, 0), best, groups, n_groups)

    def _check(self, entry: Entry) -> None:
        """Raises where a row's ranks are not of the choices that the facts are of, in their order."""
        for record in entry.result.records:
            found, known = record.arrays.get("test_session"), self.facts.get("session")
            if self.counts is not None:
                found, known = np.repeat(record.arrays["test_user"], self.counts), self.facts["pair_user"]
            if not np.array_equal(found, known):
                raise DisentrecError(
                    f"{entry.label} was not tested on the choices that the data set's facts are of",
                    where=record.path,
                    how="Run it again on this data set",
                )

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
        what = "by how often the target occurs in the training part"
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
                f"- **{shop.bench.title}.** Nearest to the optimum is {first.label}, with {shares[first.id]} % of the"
                f" achievable {tables.metric_title(metric)}. Of the papers, "
                + "; ".join(f"{e.label} has {shares[e.id]} % (place {order.index(e) + 1})" for e in own)
                + f", of {len(order)} rows."
            )
            parts = []
            for groups, names, what in self._groupings(shop):
                lost = shop.lost(first, groups, len(names))
                worst = int(lost.argmax())
                share = whole((groups == worst).mean())
                parts.append(
                    f"{what.format(names[worst])} ({tenths(100 * lost[worst])} points, {share} % of the choices)"
                )
            distance = tenths(100 * (shop.best(metric).mean() - first.mean(metric)))
            text += f" {first.label} is {distance} points below the optimum. The largest part is lost on"
            text += f" {' and, by frequency, on '.join(parts)}."
            lines.append(text)
        return tables.show("\n".join(lines))

    def ideas(self) -> Markdown | None:
        """Returns the answer to the page's question: each of the four ideas against the nearest row of no paper."""
        claims, pairs = decided(self.store), []
        for shop in self.shops:
            order = self._by_share(shop)
            rival = next(entry for entry in order if entry.family != "the four papers")
            pairs += [(shop, entry, rival) for name, entry in shop.bench.entries.items() if name in paper_names()]
        if not pairs:
            return None
        scores = [(METRICS[shop.bench.task][0], own, rival) for shop, own, rival in pairs]
        tests = [paired_bootstrap(own.scores(metric), rival.scores(metric)) for metric, own, rival in scores]
        corrected, rows, ahead = holm(np.asarray([test.p_value for test in tests])), [], []
        for (shop, own, rival), test, p in zip(pairs, tests, corrected, strict=True):
            shares = shop.shares[METRICS[shop.bench.task][0]]
            verdicts = [item["verdict"] for item in claims if item["paper"] == own.id]
            counts = " / ".join(f"{verdicts.count(word)}" for word in ("reproduced", "partly", "not reproduced"))
            gap = f"{tables.signed(test.effect)} {tables.interval(test.low, test.high)}"
            who, other = f"{own.label} ({TASK_TITLES[shop.bench.task]})", f"{rival.label}: {shares[rival.id]}"
            rows.append([who, str(shares[own.id]), other, gap, tables.p_value(p), counts])
            ahead += [own.label] if test.low > 0 and p < 0.05 else []
        header = [
            "",
            "share, %",
            "best other row",
            "difference, points",
            "p (Holm)",
            "claims reproduced / partly / not",
        ]
        caption = (
            "Each of the four papers' models: its share of what can be achieved, the best row (by test) that is not of"
            " the four papers, their difference in the metric of the share, and the verdicts on the paper's claims."
        )
        said = f"Clearly better than every row that is not of the four papers: {cross.labels(ahead) or 'none of them'}."
        return tables.show(tables.myst_table(header, rows, caption, "tbl-optimum-ideas"), said)

    def _by_share(self, shop: Shop) -> list[Entry]:
        return shop.bench.ordered(METRICS[shop.bench.task][0])  # a share grows with the metric

    def _groupings(self, shop: Shop) -> list[tuple[np.ndarray, Sequence[str], str]]:
        found = [(shop.buckets(), bucket_names(), "choices of targets that occur *{}* times in the training part")]
        if "cause" in shop.facts and shop.bench.task == "session":
            found.insert(0, (shop.facts["cause"], CAUSES, "choices made by *{}*"))
        return found

    def _heat(self, shop: Shop, groups: np.ndarray, names: Sequence[str], slug: str, what: str) -> str:
        bench, metric = shop.bench, METRICS[shop.bench.task][0]
        order = self._by_share(shop)
        values = 100 * np.stack([shop.lost(entry, groups, len(names)) for entry in order])
        part = [f"{name}\n{whole((groups == number).mean())} %" for number, name in enumerate(names)]
        drawing = losses_figure(values, [entry.label for entry in order], part)
        title = tables.metric_title(metric)
        caption = (
            f"Points of {title} lost against the optimum on {bench.title}, {what}. Each row adds up to its whole"
            " distance, in the last column; the share below a heading is that of the choices. Below zero: the model"
            " gets more there than the optimum, and loses more elsewhere."
        )
        alt = f"Heat table of {title} points lost on {bench.title}, {what}. " + "; ".join(
            f"{entry.label}: " + ", ".join(f"{name} {tenths(value)}" for name, value in zip(names, line, strict=True))
            for entry, line in zip(order, values, strict=True)
        )
        return figures.myst_figure(drawing, f"optimum-{slug}-{bench.slug}", caption, alt)
