import pytest
import torch

from disentrec.devices import check_device, check_precision, choose_device, trained_in
from disentrec.errors import DisentrecError


@pytest.fixture
def gpus(monkeypatch):
    def there_are(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)

    return there_are


def test_a_gpu_is_taken_where_there_is_one_and_nothing_else_is_asked(gpus):
    gpus(0)
    assert choose_device(None) == choose_device("cpu") == "cpu"
    gpus(2)
    assert choose_device(None) == "cuda"
    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize(
    ("device", "count", "said"),
    [
        ("cuda", 0, "no GPU 'cuda', only 0.*--device cpu"),
        ("cuda:2", 2, "no GPU 'cuda:2', only 2"),
        ("tpu", 2, "no device 'tpu'.*cpu, cuda"),
        ("meta", 2, "nothing is computed on 'meta'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(gpus, device, count, said):
    gpus(count)
    for refuse in (check_device, choose_device):
        with pytest.raises(DisentrecError, match=said):
            refuse(device)


def test_a_precision_is_one_of_three_and_tf32_a_gpu_s():
    for precision, device in (("float32", "cpu"), ("bf16", "cpu"), ("bf16", "cuda:1"), ("tf32", "cuda")):
        check_precision(precision, device)
    with pytest.raises(DisentrecError, match=r"unknown precision 'fp8'.*bf16, float32, tf32"):
        check_precision("fp8", "cuda")
    with pytest.raises(DisentrecError, match=r"not of 'cpu'.*bf16"):
        check_precision("tf32", "cpu")


def test_products_are_of_tf32_within_the_block_alone():
    assert not torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(KeyboardInterrupt), trained_in("tf32"):
        assert torch.backends.cuda.matmul.allow_tf32
        raise KeyboardInterrupt
    assert not torch.backends.cuda.matmul.allow_tf32
    with trained_in("float32"):
        assert not torch.backends.cuda.matmul.allow_tf32
