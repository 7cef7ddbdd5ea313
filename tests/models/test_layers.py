"""Layers that several models share, where no model's own test looks at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from disentrec.models.layers import softplus


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
