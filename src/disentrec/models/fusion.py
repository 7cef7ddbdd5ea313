"""From the modalities of an item to one vector: MMSBR's hierarchical pivot transformer and what it is compared with.

Shapes: m items, K tokens per modality, P pivots, dim channels inside the fusion.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from disentrec.models.kernels import Dropout, Linear, few_softmax, linear

KINDS = ("pivot", "transformer", "gate", "concat")
#: Items fused at a time, few enough for a processor's cache, and items up to which all of it is kept for the gradient;
#: beyond, every block is fused a second time in the backward pass: a third more work, a small part of the memory.
BLOCK, KEPT = 1024, 8192


class Tokens(nn.Module):
    """K feature extractors of one modality: tanh(W2 tanh(W1 x)), each with its own weights."""

    def __init__(self, width: int, dim: int, count: int, dropout: float) -> None:
        super().__init__()
        self.first, self.first_bias = _linear(count, width, dim)
        self.second, self.second_bias = _linear(count, dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (m, K, dim). x: (m, width)."""
        hidden = self.dropout(torch.tanh(torch.einsum("mi,kij->mkj", x, self.first) + self.first_bias))
        return self.dropout(torch.tanh(torch.einsum("mki,kij->mkj", hidden, self.second) + self.second_bias))


class Layer(nn.Module):
    """A transformer layer over a handful of tokens, without mask or positions.

    shared_norm (M16): one LayerNorm serves both sub-layers. softmax_over_queries (M3, model.py:142): the weights of
    every key sum to 1, not those of every query.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float, *, shared_norm: bool = False, softmax_over_queries: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.axis = heads, -2 if softmax_over_queries else -1
        self.query_key_value = Linear(dim, 3 * dim)
        self.output = Linear(dim, dim, bias=False)
        self.expand, self.reduce = Linear(dim, 4 * dim), Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.norm_after = self.norm if shared_norm else nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Returns (m, keep, dim): the first `keep` tokens, all if None. x: (m, tokens, dim)."""
        m, tokens, dim = x.shape
        keep = tokens if keep is None else keep
        # What no later layer reads is not computed; only a softmax over queries needs all of them.
        asked = tokens if self.axis == -2 else keep
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = self._heads(linear(x[:, :asked], weight[:dim], bias[:dim]), 1)[0]
        key, value = self._heads(linear(x, weight[dim:], bias[dim:]), 2)
        logits = query @ key.transpose(-1, -2) / math.sqrt(dim // self.heads)  # (m, heads, asked, tokens)
        mixed = (few_softmax(logits, self.axis)[:, :, :keep] @ value).transpose(1, 2).reshape(m, keep, dim)
        x = self.norm(x[:, :keep] + self.dropout(linear(mixed, self.output.weight)))
        hidden = F.relu(linear(x, self.expand.weight, self.expand.bias))
        return self.norm_after(x + self.dropout(linear(hidden, self.reduce.weight, self.reduce.bias)))

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Returns `parts` tensors of (m, heads, tokens, dim / heads)."""
        m, tokens, _ = x.shape
        return x.view(m, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class Fusion(nn.Module):
    """Item vectors from the modalities that a data set has, text before image; non-negative, as released.

    kind: "pivot", the paper's; "transformer", the same layers over all tokens at once, read by their mean; "gate", a
    learned share of each modality per channel; "concat". pivots_per_item (M2): every item has pivots of its own,
    `n_items` of them, which is an ID; else all items share one set.
    """

    def __init__(
        self, widths: list[int], dim: int, out: int, *, kind: str, tokens: int, pivots: int, rounds: int, heads: int,
        dropout: float, dropout_output: float, n_items: int, pivots_per_item: bool, **released: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.dim = kind, dim
        self.extract = self.layers = self.pivots = self.project = self.gate = None
        if kind in ("pivot", "transformer"):
            self.extract = nn.ModuleList(Tokens(width, dim, tokens, dropout) for width in widths)
        else:
            self.project = nn.ModuleList(Linear(width, dim) for width in widths)
        if kind == "pivot":
            self.pivots = nn.Parameter(torch.empty(n_items if pivots_per_item else 1, pivots, dim).normal_(std=0.02))
            steps = rounds * len(widths)
            self.layers = nn.ModuleList(Layer(dim, heads, dropout, **released) for _ in range(steps))
        elif kind == "transformer":
            self.layers = nn.ModuleList(Layer(dim, heads, dropout, **released) for _ in range(2 * rounds))
        elif kind == "gate":
            self.gate = Linear(len(widths) * dim, len(widths) * dim)
        wide = {"pivot": pivots * dim, "concat": len(widths) * dim}.get(kind, dim)
        self.merge, self.output = Linear(wide, out), Linear(out, out)
        self.dropout = Dropout(dropout_output)

    def forward(self, content: list[Tensor], items: Tensor | None = None) -> Tensor:
        """Returns (m, out). content: (m, width) per modality; items: (m,) which rows these are, None for all."""
        pivots = self.pivots
        if pivots is not None:
            per_item = len(pivots) > 1
            pivots = pivots[items] if per_item and items is not None else pivots.expand(len(content[0]), -1, -1)
        parts = [*content] if pivots is None else [pivots, *content]
        if len(content[0]) > KEPT and torch.is_grad_enabled():
            return _FusedAgain.apply(self, len(parts), *parts, *self.parameters())
        return torch.cat([self._fuse(*(part[rows] for part in parts)) for rows in _blocks(len(content[0]))])

    def _fuse(self, *parts: Tensor) -> Tensor:
        mixed = self.dropout(getattr(self, f"_{self.kind}")(*parts))
        hidden = self.dropout(F.relu(self.merge(mixed)))
        return self.dropout(F.relu(self.output(hidden)))

    def _pivot(self, pivots: Tensor, *content: Tensor) -> Tensor:
        """Pivots read one modality after the other, `rounds` times, and carry what they read to the next."""
        sequences = [extract(x) for extract, x in zip(self.extract, content, strict=True)]
        count = pivots.shape[1]
        for step, layer in enumerate(self.layers):
            modality = step % len(sequences)
            last = step + len(sequences) >= len(self.layers)  # the last visit: nobody reads the tokens after it
            read = layer(torch.cat([pivots, sequences[modality]], 1), count if last else None)  # (m, P + K, dim)
            pivots = (read[:, :count] + pivots) / 2
            if not last:
                sequences[modality] = read[:, count:] + sequences[modality]
        return pivots.flatten(1)

    def _transformer(self, *content: Tensor) -> Tensor:
        x = torch.cat([extract(x) for extract, x in zip(self.extract, content, strict=True)], 1)
        for layer in self.layers:
            x = layer(x)
        return x.mean(1)

    def _gate(self, *content: Tensor) -> Tensor:
        x = torch.stack([project(x) for project, x in zip(self.project, content, strict=True)], 1)  # (m, M, dim)
        share = self.gate(x.flatten(1)).view_as(x).softmax(1)
        return (share * x).sum(1)

    def _concat(self, *content: Tensor) -> Tensor:
        return torch.cat([project(x) for project, x in zip(self.project, content, strict=True)], 1)


def _linear(count: int, width: int, out: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Returns weights (count, width, out) and biases (count, out) of several linear layers, drawn as torch's own."""
    bound = 1 / math.sqrt(width)
    return (
        nn.Parameter(torch.empty(count, width, out).uniform_(-bound, bound)),
        nn.Parameter(torch.empty(count, out).uniform_(-bound, bound)),
    )


def _blocks(m: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, m)) for start in range(0, m, BLOCK)]


class _FusedAgain(torch.autograd.Function):
    """Fuses block by block and keeps nothing but the state of the generator, with which backward fuses again.

    torch's own checkpoint does the same, but its many small leftovers between large tensors cut the heap of a CPU
    process into pieces: 3.1 GB for 18,796 items against 0.9 GB.
    """

    @staticmethod
    def forward(ctx, fusion: Fusion, n_parts: int, *tensors: Tensor) -> Tensor:
        parts = tensors[:n_parts]
        ctx.fusion, ctx.states = fusion, []
        ctx.save_for_backward(*parts)
        out = None
        for rows in _blocks(len(parts[0])):
            ctx.states.append(_generator_state(parts[0].device))
            fused = fusion._fuse(*(part[rows] for part in parts))
            out = fused.new_empty(len(parts[0]), fused.shape[1]) if out is None else out
            out[rows] = fused
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wholes, parameters = ctx.saved_tensors, list(ctx.fusion.parameters())
        n_parts = len(wholes)
        wanted = ctx.needs_input_grad[2:]
        found = [torch.zeros_like(x) if want else None for x, want in zip([*wholes, *parameters], wanted, strict=True)]
        places = [place for place, want in enumerate(wanted) if want]
        device = gradient.device
        now = _generator_state(device)
        for rows, state in zip(_blocks(len(gradient)), ctx.states, strict=True):
            _set_generator_state(device, state)
            parts = [x[rows].detach().requires_grad_(w) for x, w in zip(wholes, wanted, strict=False)]
            with torch.enable_grad():
                fused = ctx.fusion._fuse(*parts)
            inputs = [[*parts, *parameters][place] for place in places]
            # Per-item pivots are a parameter and a part: as a part they have their gradient, so none is left here.
            for place, value in zip(
                places, torch.autograd.grad(fused, inputs, gradient[rows], allow_unused=True), strict=True
            ):
                if place < n_parts:
                    found[place][rows] = value
                elif value is not None:
                    found[place] += value
        _set_generator_state(device, now)
        return None, None, *found


def _generator_state(device: torch.device) -> Tensor:
    return torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)


def _set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)
