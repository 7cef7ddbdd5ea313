"""DGCF: disentangled graph collaborative filtering (Wang et al., SIGIR 2020)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.errors import DisentrecError
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, bpr, squared_norm, symmetric, xavier
from disentrec.models.kernels import linear
from disentrec.models.layers import Sparse


@dataclass(frozen=True)
class DGCFConfig:
    """Settings of DGCF, with the paper's as defaults."""

    dim: int = 64
    #: Chunks of every row, one an intent; they divide `dim`.
    intents: int = 4
    layers: int = 1
    #: Rounds of routing per layer.
    iterations: int = 2
    #: Weight of the sum over all pairs of intents, Eq. 16. The code has 0.01, takes pairs that stand side by side alone
    #: and divides by 4 x 5 / 2, hence this. The term does not shrink with the rows: ten times as much holds back the
    #: first epochs (Amazon Baby).
    weight_independence: float = 1e-3
    #: Rows, of users and items alike, whose chunks are compared for independence in a step.
    sample: int = 256
    #: Weight of the squared norm of the batch's own rows, before propagation.
    regularisation: float = 1e-4


class DGCF(TopNModel):
    """Rows in chunks, one per intent, each propagated along the pairs by how much of a pair is for that intent."""

    name = "dgcf"
    compiles = False  # torch.compile knows no sampled product of sparse matrices
    Config = DGCFConfig

    def __init__(self, config: DGCFConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        if config.dim % config.intents:
            raise DisentrecError(
                f"{config.intents} intents do not divide {config.dim} dimensions",
                where="model dgcf",
                how="Set `dim` to a multiple of `intents`",
            )
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        graph = bipartite(catalogue.train)
        self.uniform, self.edges = Sparse(symmetric(graph)), Edges(graph, config.intents)

    def propagated(self) -> Tensor:
        """Returns the sum over all layers, users first, (n_users + n_items, dim): Eq. 14.

        Nothing is detached, as in the code: gradient runs through the rows that are passed on, through the weights
        they are passed by, and so through the rows whose products are those weights.
        """
        x = total = self.table
        scores, rounds = None, self.config.layers * self.config.iterations
        for number in range(rounds):
            if number % self.config.iterations == 0:  # a layer begins
                chunks = self.chunks(x)
                # The paper's Eq. 12 has no normalisation; its code has, so that a round moves a score by 1 at most.
                towards = torch.tanh(of_length_one(chunks))
            # Equal scores make D^-1/2 A D^-1/2 of every intent's graph: a fixed one, and four times as fast.
            found = self.chunks(self.uniform(x)) if scores is None else self.pass_on(scores, chunks)
            if number + 1 < rounds:  # Eq. 12; between layers scores live on, as in the code
                moved = self.edges.dot(of_length_one(found), towards)
                scores = moved if scores is None else scores + moved
            if (number + 1) % self.config.iterations == 0:  # a layer ends
                x = found.transpose(0, 1).flatten(1)
                total = total + x
        return total

    def pass_on(self, scores: Tensor, chunks: Tensor) -> Tensor:
        """Returns the sums over neighbours of one round, (intents, n, dim / intents), Eq. 8 to 11.

        scores: (intents, edges); chunks: (intents, n, dim / intents).
        """
        share = scores.softmax(0)
        senders, receivers = (
            share.new_zeros(chunks.shape[:2]).index_add(1, ends, share).clamp(min=1e-12).rsqrt()[..., None]
            for ends in (self.edges.columns, self.edges.rows)
        )
        # Scaled at the nodes and not at the edges, of which there are many more.
        return receivers * self.edges.sum(share, senders * chunks)

    def chunks(self, x: Tensor) -> Tensor:
        """Returns the rows by intent, (intents, n, dim / intents). x: (n, dim)."""
        return x.unflatten(1, (self.config.intents, -1)).transpose(0, 1).contiguous()

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the propagated tables, (n_users, dim) and (n_items, dim)."""
        table = self.propagated()
        return table[: self.n_users], table[self.n_users :]

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR, the dependence of the intents on each other and the squared norm of the rows themselves."""
        rows = torch.cat([batch.users, self.n_users + batch.positives, self.n_users + batch.negatives[:, 0]])
        independent = self.config.weight_independence > 0 and self.config.intents > 1
        drawn = torch.randperm(len(self.table), device=rows.device)[: self.config.sample if independent else 0]
        found = self.propagated()[torch.cat([rows, drawn])]  # one look-up for all: see lightgcn.py
        u, i, j = found[: len(rows)].chunk(3)
        terms = {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * squared_norm(*self.table[rows].chunk(3)),
        }
        if independent:
            between = distance_correlation(self.chunks(found[len(rows) :]))
            terms["independence"] = self.config.weight_independence * between.triu(1).sum()  # Eq. 16
        return terms


def distance_correlation(chunks: Tensor) -> Tensor:
    """Returns the distance correlation of every two chunks over the rows, (intents, intents), each from 0 to 1.

    chunks: (intents, rows, dim). Zero only where two chunks are independent (Szekely et al., 2007), Eq. 17.
    """
    apart = torch.cdist(chunks, chunks, compute_mode="donot_use_mm_for_euclid_dist")  # (intents, rows, rows)
    centred = apart - apart.mean(1, keepdim=True) - apart.mean(2, keepdim=True) + apart.mean((1, 2), keepdim=True)
    covariance = centred.flatten(1) @ centred.flatten(1).T
    scale = covariance.diagonal().clamp(min=1e-20).sqrt()
    # At zero a root has no slope: what is below 1e-4 is independent enough.
    return (covariance / (scale[:, None] * scale)).clamp(min=1e-8).sqrt()


def of_length_one(x: Tensor) -> Tensor:
    """Returns rows of length 1, zero rows as they are; by a product, whose gradient is cheaper than a quotient's."""
    return x * (x * x).sum(-1, keepdim=True).clamp(min=1e-24).rsqrt()


class Edges(nn.Module):
    """The pairs as edges of one graph, both ways, and the two products along them that routing is made of.

    Each one's gradient is the other, so that no (edges, dim) table is ever written: one pass over the edges in cache
    each, 3 ms (sum) and 6 ms (dot) where gathering rows and multiplying them takes 80 (240,000 edges, 4 x 16).
    """

    def __init__(self, graph, intents: int) -> None:
        super().__init__()
        n, edges = graph.shape[0], graph.nnz
        rows = np.repeat(np.arange(n), np.diff(graph.indptr))
        # Where the edge stands that leads back; the edges are in the order of (row, column).
        back = np.lexsort((rows, graph.indices))
        step = np.arange(intents)[:, None]
        # One graph of `intents` blocks: a call serves all intents.
        blocks = np.append((step * edges + graph.indptr[:-1]).ravel(), intents * edges)
        for name, values in (
            ("rows", rows), ("columns", graph.indices), ("back", back),
            ("block_offsets", blocks), ("block_columns", (step * n + graph.indices).ravel()),
        ):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(values).long(), persistent=False)

    def sum(self, weights: Tensor, x: Tensor) -> Tensor:
        """Returns the weighted sums over every node's neighbours, (intents, n, dim).

        weights: (intents, edges); x: (intents, n, dim).
        """
        return _EdgeSum.apply(weights, x, self)

    def dot(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns x at an edge's row times y at its column, (intents, edges). Both: (intents, n, dim)."""
        return _EdgeDot.apply(x, y, self)


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, x: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(weights, x)
        ctx.edges = edges
        found = F.embedding_bag(
            edges.block_columns, x.flatten(0, 1), edges.block_offsets, mode="sum",
            per_sample_weights=weights.flatten(), include_last_offset=True,
        )  # fmt: skip
        return found.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (weights, x), edges = ctx.saved_tensors, ctx.edges
        gradient = gradient.contiguous()
        return edges.dot(gradient, x), edges.sum(weights.index_select(1, edges.back), gradient), None


class _EdgeDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.edges = edges
        intents, (x, y) = len(x), (x.flatten(0, 1), y.flatten(0, 1))
        with warnings.catch_warnings():  # once, torch calls its compressed rows young and their check left out
            warnings.filterwarnings("ignore", "Sparse ")
            where = torch.sparse_csr_tensor(
                edges.block_offsets, edges.block_columns, x.new_zeros(len(edges.block_columns)), (len(x), len(x)),
                check_invariants=False,
            )  # fmt: skip
        return torch.sparse.sampled_addmm(where, x, y.T, beta=0).values().view(intents, -1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (x, y), edges = ctx.saved_tensors, ctx.edges
        return edges.sum(gradient, y), edges.sum(gradient.index_select(1, edges.back), x), None
