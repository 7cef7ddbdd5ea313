"""Layers that several models share, where no model's own test looks at them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from disentrec.models.layers import GRU, GRUCell, SequenceEncoder
from tests.models.gradients import same_with_gradients
from tests.models.worlds import batch_of

BATCH = batch_of([[1, 2, 3], [4], [5, 1]], [0, 0, 0])


def test_a_recurrent_unit_has_the_library_s_values_and_gradients():
    torch.manual_seed(0)
    ours, theirs = GRUCell(18, 20), nn.GRUCell(18, 20)
    theirs.load_state_dict(ours.state_dict())
    state = torch.randn(32, 20)
    same_with_gradients(lambda x: ours(x, state), lambda x: theirs(x, state), torch.randn(32, 18))


def test_recurrent_units_along_sessions_have_the_library_s_states():
    torch.manual_seed(0)
    ours, theirs = GRU(6, 5), nn.GRU(6, 5, batch_first=True)
    theirs.load_state_dict({f"{name}_l0": value for name, value in ours.state_dict().items()})
    table = torch.randn(9, 6)
    rows = F.embedding(BATCH.real_items, table)
    padded = torch.cat([torch.zeros(1, 6), table])[BATCH.items]
    assert torch.allclose(ours(rows, BATCH), theirs(padded)[0][BATCH.mask], atol=1e-6)


def test_a_batch_knows_its_positions_and_takes_them_along():
    assert BATCH.lengths == [3, 1, 2] and BATCH.session.tolist() == [0, 0, 0, 1, 2, 2]
    assert BATCH.real_items.tolist() == [1, 2, 3, 4, 5, 1]
    assert BATCH.items.flatten()[BATCH.at].tolist() == [2, 3, 4, 5, 6, 2]
    moved = BATCH.to("meta")  # a device that cannot say how many there are
    assert {getattr(moved, name).device.type for name in ("at", "session", "real_items")} == {"meta"}
    assert moved.lengths == BATCH.lengths and BATCH.to("cpu") is BATCH


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_session_is_encoded_as_if_it_were_alone(causal, pre_norm):
    """Sessions are sorted and grouped inside; each has the library's attention over its own positions."""
    torch.manual_seed(0)
    encoder = SequenceEncoder(8, 2, 2, 16, 0.0, 3, causal=causal, pre_norm=pre_norm)
    lengths = [5, 1, 3, 9, 2, 1]
    rows = torch.randn(sum(lengths), 8)
    for own, found in zip(rows.split(lengths), encoder(rows, encoder.plan(lengths)).split(lengths), strict=True):
        back = torch.arange(len(own)).flip(0).clamp(max=2)  # 0 at the last, and three positions in the table
        x = own + encoder.positions[back]
        x = x if pre_norm else encoder.norm(x)
        for block in encoder.blocks:

            def attend(x, block=block):
                heads = (part.view(len(x), 2, 4).transpose(0, 1) for part in block.project(x).chunk(3, -1))
                read = F.scaled_dot_product_attention(*heads, is_causal=causal)
                return block.join(read.transpose(0, 1).flatten(1))

            for part, norm in zip((attend, block.network), block.norms, strict=True):
                x = x + part(norm(x)) if pre_norm else norm(x + part(x))
        assert torch.allclose(found, encoder.norm(x) if pre_norm else x, atol=1e-5)
