"""A full disk and a closed folder: an error that says what, where and how, and no half file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest

from disentrec import cli
from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.encode.features import encode
from disentrec.errors import DisentrecError
from disentrec.report import notebooks
from disentrec.report.figures import figure, myst_figure
from disentrec.study import Store
from disentrec.study.cases import publish_dataset
from disentrec.study.runner import run

FULL = r"cannot be written: No space left on device.*Make room on this disk.*start the same command again"


@pytest.fixture(params=["writing", "renaming"])
def full(request, monkeypatch):
    """A disk that is full when a file is flushed to it, or when it gets its name."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    names = {"writing": ("os.fsync", "pathlib.Path.write_text"), "renaming": ("os.replace", "pathlib.Path.replace")}
    for name in names[request.param]:
        monkeypatch.setattr(name, refuse)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_on_a_full_disk_leaves_no_record(full, spec, shop, tmp_path):
    with pytest.raises(DisentrecError, match=FULL):
        run(spec, shop.folder, Store(tmp_path))
    assert files(tmp_path) == []


def test_a_training_on_a_full_disk_keeps_no_half_checkpoint(full, spec, shop, tmp_path):
    with pytest.raises(DisentrecError, match=FULL) as caught:
        run(spec, shop.folder, Store(tmp_path), checkpoint=0)
    assert caught.value.where.suffix == ".safetensors" and files(tmp_path) == []


def test_a_generated_shop_on_a_full_disk_leaves_no_folder(full, tmp_path):
    with pytest.raises(DisentrecError, match=FULL):
        write_bazaar(tmp_path / "shop", BazaarParameters.preset("tiny", images=False, n_sessions=100))
    assert list(tmp_path.iterdir()) == []


def test_overwriting_on_a_full_disk_keeps_the_data_set_that_was_there(tmp_path, request):
    """Overwriting puts the old folder aside first: it must be back afterwards."""
    target = tmp_path / "target"
    write_bazaar(target, BazaarParameters.preset("tiny", images=False, n_sessions=100))
    before = {name: (target / name).read_bytes() for name in files(target)}
    request.getfixturevalue("full_at_the_last_moment")
    with pytest.raises(DisentrecError, match=FULL):
        write_bazaar(target, BazaarParameters.preset("tiny", images=False, n_sessions=120), overwrite=True)
    assert {name: (target / name).read_bytes() for name in files(target)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target"]


@pytest.fixture
def full_at_the_last_moment(monkeypatch):
    """The rename of a finished draft fails; that of anything else does not."""
    inner = Path.replace

    def refuse(path, target):
        if path.suffix == ".part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return inner(path, target)

    monkeypatch.setattr(Path, "replace", refuse)


def test_encoding_on_a_full_disk_leaves_no_feature(full, shop):
    with pytest.raises(DisentrecError, match=FULL):
        encode(shop, text="tfidf-svd", dim=4)
    assert files(shop.folder / "encoded") == []


def test_a_figure_on_a_full_disk_leaves_none(full, tmp_path):
    drawing, _ = figure()
    with pytest.raises(DisentrecError, match=FULL):
        myst_figure(drawing, "line", "A line.", "A line", folder=tmp_path / "figures")
    assert files(tmp_path) == []


def test_facts_of_a_data_set_on_a_full_disk_leave_none(full, shop, tmp_path, monkeypatch):
    monkeypatch.setattr("disentrec.study.cases.dataset_folder", lambda name: shop.folder)
    with pytest.raises(DisentrecError, match=FULL):
        publish_dataset(Store(tmp_path), "shop")
    assert files(tmp_path) == []


def test_a_chapter_on_a_full_disk_stays_as_it_was(full, tmp_path, monkeypatch):
    notebook, target = tmp_path / "n.ipynb", tmp_path / "book" / "chapter.ipynb"
    notebook.write_bytes(nbformat.writes(nbformat.v4.new_notebook()).encode())
    target.parent.mkdir()
    target.write_bytes(b"as it was")
    monkeypatch.setattr(notebooks, "check_parameters", lambda *_: None)
    monkeypatch.setattr(notebooks, "declared_parameters", lambda *_: {})
    monkeypatch.setattr(notebooks, "_papermill", lambda source, scratch, *_: scratch.write_bytes(source.read_bytes()))
    with pytest.raises(DisentrecError, match=FULL):
        notebooks.run_notebook(notebook, target, root=tmp_path)
    assert target.read_bytes() == b"as it was" and files(target.parent) == ["chapter.ipynb"]


@pytest.fixture(params=["read-only", "no folder"])
def closed(request, tmp_path):
    """A folder that cannot be written: without the permission, or, which stops root as well, a file in its place."""
    place = tmp_path / "closed"
    if request.param == "no folder":
        place.write_bytes(b"")
        yield place
        return
    if os.geteuid() == 0:
        pytest.skip("root writes where nobody may")
    place.mkdir(mode=0o500)
    yield place
    place.chmod(0o700)


CLOSED = r"cannot be written: (Not a directory|Permission denied|File exists).*closed.*start the same command again"


def test_a_store_that_cannot_be_written_is_named(closed, spec, shop):
    with pytest.raises(DisentrecError, match=CLOSED):
        run(spec, shop.folder, Store(closed))


def test_a_place_for_data_that_cannot_be_written_is_named(closed):
    with pytest.raises(DisentrecError, match=CLOSED):
        write_bazaar(closed / "shop", BazaarParameters.preset("tiny", images=False, n_sessions=100))


def test_features_that_cannot_be_written_are_named(closed, shop):
    from disentrec.encode.store import write_feature

    with pytest.raises(DisentrecError, match=CLOSED):
        write_feature(closed, "text", np.ones((3, 2)), {})


def test_a_chapter_that_cannot_be_written_is_named(closed, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "check_parameters", lambda *_: None)
    with pytest.raises(DisentrecError, match=CLOSED):
        notebooks.run_notebook(tmp_path / "n.ipynb", closed / "chapter.ipynb", root=tmp_path)


def test_the_command_line_says_so_in_one_line(closed, shop, capsys, spec):
    assert cli.main(["train", "pop", str(shop.folder), "--store", str(closed)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("disentrec: cannot be written: ") and said.count("\n") == 1
