"""Sums, softmax, products and masks that several models share, beside the library's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from disentrec.models.kernels import (
    Linear,
    few_log_softmax,
    few_softmax,
    session_means,
    session_softmax,
    softplus,
    tanh,
    weighted_sums,
)
from tests.models.gradients import same_with_gradients
from tests.models.worlds import batch_of

BATCH = batch_of([[1, 2, 3], [4], [5, 1]], [0, 0, 0])


def test_softplus_without_gradient_is_the_library_s():
    x = torch.cat([torch.linspace(-30, 30, 100_001), torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4])])
    exact = torch.logaddexp(x.double(), torch.zeros((), dtype=torch.float64))
    with torch.no_grad():
        assert ((softplus(x) - exact).abs() <= 2e-7 * exact.clamp(min=1)).all()
        assert torch.equal(softplus(x.double()), F.softplus(x.double()))


def test_softplus_with_gradient_is_the_library_s():
    x = torch.linspace(-30, 30, 1001, requires_grad=True)
    assert torch.equal(softplus(x), F.softplus(x))
    (gradient,) = torch.autograd.grad(softplus(x).sum(), x)
    assert torch.allclose(gradient, x.detach().sigmoid())


def test_a_tangent_without_gradient_is_the_library_s():
    x = torch.cat([torch.linspace(-20, 20, 100_001), torch.tensor([-1e4, 0.0, 1e4])])
    with torch.no_grad():
        assert (tanh(x) - x.double().tanh()).abs().max() <= 2e-7
        assert torch.equal(tanh(x.double()), x.double().tanh())
    assert torch.equal(tanh(x), x.tanh())


# ------------------------------------------------------------- the faster library


@pytest.mark.parametrize("shape", [(64, 20), (5, 16, 20), (3, 20)])  # the last one is too narrow for it
@pytest.mark.parametrize("out", [24, 18])
def test_a_linear_layer_has_the_library_s_values_and_gradients(shape, out):
    torch.manual_seed(0)
    ours, x = Linear(shape[-1], out), torch.randn(shape)
    theirs = nn.Linear(shape[-1], out)
    theirs.load_state_dict(ours.state_dict())
    same_with_gradients(ours, theirs, x)


@pytest.mark.parametrize("dim", [-1, -2])
def test_a_softmax_over_few_is_the_library_s(dim):
    torch.manual_seed(0)
    x = 30 * torch.randn(50, 4, 8, 8)
    same_with_gradients(lambda x: few_softmax(x, dim), lambda x: x.softmax(dim), x)


def test_the_logarithm_of_a_softmax_over_few_is_the_library_s():
    torch.manual_seed(0)
    same_with_gradients(few_log_softmax, lambda x: x.log_softmax(-1), 30 * torch.randn(50, 3, 5, 5))


# --------------------------------------------------------------- without padding


def test_a_softmax_of_sessions_is_each_session_s_own():
    logits = torch.tensor([[100.0, 0], [101, 0], [99, 5], [-300, 2], [7, 7], [8, 7]])
    found = session_softmax(logits, BATCH.session, 3)
    expected = torch.cat([part.softmax(0) for part in logits.split(BATCH.lengths)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_sums_and_means_of_sessions():
    rows, weights = torch.randn(6, 2), torch.rand(6)
    parts = (weights[:, None] * rows).split(BATCH.lengths)
    assert torch.allclose(weighted_sums(rows, weights, BATCH.length), torch.stack([part.sum(0) for part in parts]))
    means = torch.stack([part.mean(0) for part in rows.split(BATCH.lengths)])
    assert torch.allclose(session_means(rows, BATCH.length), means)
