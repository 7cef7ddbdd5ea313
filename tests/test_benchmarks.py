"""What the benchmarks count is what was done; every one of them is found by the one command."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from disentrec.models.kernels import linear
from disentrec.paths import ROOT


@pytest.fixture(scope="module")
def shared():
    """What the benchmarks import from each other."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("counting", "common")})
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def counted(shared):
    return shared.counting.counted


def test_a_product_is_two_operations_per_number_and_moves_its_three_tables(counted):
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    with counted() as work:
        _ = a @ b
    assert (work.flop, work.bytes) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15))


def test_the_product_of_the_package_counts_like_any_other_and_its_gradient_twice(counted):
    x, weight = torch.ones(2, 3, 4, requires_grad=True), torch.ones(5, 4, requires_grad=True)
    with counted() as work:
        loss = linear(x, weight).sum()
    assert work.flop == 2 * 6 * 4 * 5
    with counted() as work:
        loss.backward()
    assert work.flop == 2 * 2 * 6 * 4 * 5


def test_a_floor_holds_every_operator_up_by_the_slower_of_its_needs(counted):
    a = torch.ones(8, 8)
    with counted() as work:
        _ = (a @ a) + a
    product, addition = work.operators
    assert product == (2 * 8**3, 3 * 4 * 64) and addition == (0, 3 * 4 * 64)
    assert work.floor(product=1.0, copy=1e3) == 1024 + 0.768
    assert work.floor(product=1e9, copy=1.0) == pytest.approx(2 * 768)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_product_counts_its_entries_and_not_the_table_they_stand_in(counted):
    starts, columns = torch.tensor([0, 2, 2, 3]), torch.tensor([0, 4, 1])
    sparse = torch.sparse_csr_tensor(starts, columns, torch.ones(3), (3, 5), check_invariants=True)
    moved = 3 * 4 + 8 * (4 + 3)  # three numbers, four starts, three columns
    x, y = torch.ones(5, 8), torch.ones(3, 8)
    with counted() as work:
        sparse @ x
    assert work.flop == 2 * 3 * 8 and work.bytes == moved + 4 * (5 * 8 + 3 * 8)
    with counted() as work:
        torch.sparse.sampled_addmm(sparse, y, x.T, beta=0)
    assert work.flop == 2 * 3 * 8 and 2 * moved + 4 * (5 + 3) * 8 <= work.bytes < 3 * moved + 4 * (5 + 3) * 8


def test_views_move_nothing_and_a_lookup_moves_its_rows(counted):
    table, rows = torch.ones(1000, 8), torch.tensor([1, 5, 5])
    with counted() as work:
        _ = table.T.reshape(8, 1000)[2:4].unsqueeze(0)
    assert work.bytes == 0
    with counted() as work:
        _ = table.index_select(0, rows)
    assert (work.flop, work.bytes) == (0, 2 * 4 * 3 * 8 + 8 * 3)


def test_a_sum_of_neighbours_reads_the_rows_it_sums(counted):
    table, columns = torch.ones(1000, 8), torch.tensor([0, 7, 7, 9])
    offsets, values = torch.tensor([0, 1, 4]), torch.ones(4)
    options = {"mode": "sum", "per_sample_weights": values, "include_last_offset": True}
    with counted() as work:
        out = torch.nn.functional.embedding_bag(columns, table, offsets, **options)
    assert out.tolist() == [[1.0] * 8, [3.0] * 8] and work.flop == 2 * 4 * 8
    least = 4 * (4 * 8 + 2 * 8 + 4) + 8 * (4 + 3)  # rows, sums, weights; places
    assert least <= work.bytes < least + 200  # and what the operator keeps for its gradient


def test_a_peer_is_timed_as_released_and_ranked_in_evaluation_mode(shared):
    model, seen = torch.nn.Dropout(), []

    def note(rows):
        seen.append((len(rows), model.training, torch.is_anomaly_enabled()))

    split = SimpleNamespace(train=range(20), test=range(9))
    found = shared.common.peer_times("abc", model, note, note, split, size=3, count=2)
    assert seen == [(3, True, True)] * 3 + [(3, False, False)] * 3
    assert found["commit"] == "abc" and found["epoch_s"] >= 0 and found["test_pass_s"] >= 0


def test_one_command_lists_every_benchmark_and_refuses_an_unknown_one():
    def run(*names):
        command = [sys.executable, "-m", "benchmarks", *names]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    listed = run()
    names = {line.split()[0] for line in listed.stdout.splitlines()}
    with_main = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main()" in path.read_text()}
    assert listed.returncode == 0 and names == with_main >= {"stages", "large", "dimo_speed", "crash"}
    assert run("none-such").returncode == 1
