"""Every parser that reads what others wrote, as a function of one file: it returns, or raises DisentrecError.

A target is (name of the file, what it holds when it is right, the reader of the folder it stands in). The tests of this
folder mutate the contents; benchmarks/fuzz.py does the same for as long as one likes, guided by coverage where atheris
is installed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from disentrec.cli import assignments
from disentrec.data.layouts import import_layout
from disentrec.data.schema import inspect_dataset
from disentrec.data.sources import amazon_files, download, pictures, retail
from disentrec.data.sources.download import Downloads
from disentrec.data.sources.lines import Tally
from disentrec.data.sources.movielens import movielens_1m
from disentrec.encode.store import read_feature
from disentrec.encode.weights import read_weights
from disentrec.errors import DisentrecError
from disentrec.report.parameters import assigned, declared_parameters
from disentrec.study import papers, reported, sources
from disentrec.study.store import Store
from tests.fuzz import seeds


@dataclass(frozen=True)
class Target:
    """One kind of file and its reader."""

    file: str
    right: Callable[[], bytes]
    read: Callable[[Path], object]
    #: What stands beside it, path -> bytes.
    beside: Callable[[], dict[str, bytes]] = dict
    kind: str = "bytes"  # or "json", "yaml": mutated by their structure too
    inputs: int = 250  # of the short profile

    def prepare(self, folder: Path) -> None:
        """Writes what stands beside the file."""
        for name, content in self.beside().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / self.file).parent.mkdir(parents=True, exist_ok=True)

    def run(self, content: bytes, folder: Path) -> bool:
        """Reads `content` as that file and returns whether it was accepted; anything but DisentrecError escapes."""
        (folder / self.file).write_bytes(content)
        try:
            self.read(folder)
        except DisentrecError as error:
            assert len(str(error)) < 20_000  # whatever stands in the file
            return False
        return True


class _Here(Downloads):
    """Downloads that are all here already."""

    def get(self, path: str) -> Path:
        return self.folder / path


def _reviews(folder: Path) -> None:
    amazon_files.read_reviews(folder / "x", Tally(), tolerated=1.0)


def _products(release: int, folder: Path) -> None:
    stream = amazon_files.read_products(folder / "x", release, Tally(), tolerated=1.0, description=3000)
    for product in stream:
        assert not product.price < 0 and not product.rank < 1
        assert len(product.title) <= 1000
        product.title.encode()


def _image_features(folder: Path) -> None:
    amazon_files.read_image_features(folder / "x", ["B000000001"])


def _movielens(folder: Path) -> None:
    movielens_1m(_Here(folder, ""), None, sessions="gap", core=0, images="none", min_count=0, dim=2, broken=1.0)


def _sales(name: str, folder: Path) -> None:
    retail._lines(retail._rows(folder / name), Tally(), Counter())


def _layout(name: str, folder: Path) -> None:
    options = {} if name == "sessions" else {"mmsbr-sports": {"min_count": 0}}.get(name, {"dim": 2})
    target = folder.with_name(f"{folder.name}-out")
    import_layout(folder, target, layout=name, overwrite=True, **options)


def _record(folder: Path) -> None:
    record = Store(folder).read(folder / "x.json")
    record.spec.hash  # noqa: B018
    record.metric("mrr@20")


def _arrays(folder: Path) -> None:
    from disentrec.data.files import read_arrays

    for name, values in read_arrays(folder / "x.npz").items():
        assert isinstance(name, str) and not values.dtype.hasobject


def _paper(folder: Path) -> None:
    """Reads a paper as load_paper does, from a folder of papers."""
    papers.read_paper(folder / "dimo.yaml")


def _picture(folder: Path) -> None:
    found = pictures.shrink((folder / "x").read_bytes())
    assert found is None or found.startswith(b"\xff\xd8")


def _text(read: Callable[[str], object], folder: Path) -> None:
    read((folder / "x").read_bytes().decode("utf-8", errors="replace"))


def _assignments(text: str) -> None:
    json.dumps(assignments([text]))


def _beside_dataset(without: str) -> dict[str, bytes]:
    return {name: content for name, content in seeds.dataset_files().items() if name != without}


def _dataset(file: str, kind: str = "bytes", inputs: int = 250) -> Target:
    right, beside = partial(lambda: seeds.dataset_files()[file]), partial(_beside_dataset, file)
    return Target(file, right, inspect_dataset, beside, kind, inputs)


def _imported(layout: str, file: str) -> Target:
    files = seeds.layout_files
    beside = partial(lambda: {name: content for name, content in files()[layout].items() if name != file})
    return Target(file, partial(lambda: files()[layout][file]), partial(_layout, layout), beside, inputs=60)


def _gzipped(target: Target) -> Target:
    return Target(target.file, lambda: seeds.packed(target.right()), target.read, inputs=target.inputs)


AMAZON = {
    "reviews": Target("x", seeds.reviews, _reviews, inputs=500),
    "products of 2014": Target("x", seeds.products_of_2014, partial(_products, 2014), inputs=500),
    "products of 2018": Target("x", seeds.products_of_2018, partial(_products, 2018), inputs=500),
    "image features": Target("x", seeds.image_features, _image_features),
}
TARGETS: dict[str, Target] = {
    **AMAZON,
    **{f"gzipped {name}": _gzipped(target) for name, target in AMAZON.items()},
    "movielens": Target("ml-1m.zip", seeds.movielens, _movielens, inputs=120),
    "sales": Target(retail.CSV, seeds.sales, partial(_sales, retail.CSV)),
    "zipped sales": Target(
        retail.ARCHIVE, lambda: seeds.archive(**{"sales.csv": seeds.sales()}), partial(_sales, retail.ARCHIVE)
    ),
    "pictures": Target("x", partial(seeds.picture, "PNG"), _picture),
    "pictures (JPEG)": Target("x", partial(seeds.picture, "JPEG"), _picture),
    "pictures (GIF)": Target("x", partial(seeds.picture, "GIF"), _picture),
    "record of a download": Target(
        "x", lambda: json.dumps({"url": "u", "sha256": "0" * 64, "bytes": 1}).encode(),
        lambda folder: download._read_note(folder / "x"), kind="json",
    ),
    "dataset.json": _dataset("dataset.json", "json", 600),
    "items.parquet": _dataset("items.parquet"),
    "sessions.parquet": _dataset("sessions.parquet"),
    "interactions.parquet": _dataset("interactions.parquet"),
    "images.parquet": _dataset("images.parquet"),
    "feature": _dataset("features/text.npy"),
    "encoded feature": Target(
        "encoded/words.npy", lambda: seeds.dataset_files()["encoded/words.npy"],
        lambda folder: read_feature(folder, "words"), partial(_beside_dataset, "encoded/words.npy"),
    ),
    "record of a feature": Target(
        "encoded/words.json", lambda: seeds.dataset_files()["encoded/words.json"],
        lambda folder: read_feature(folder, "words"), partial(_beside_dataset, "encoded/words.json"), "json",
    ),
    **{
        f"layout {name}, {file}": _imported(name, file)
        for name, files in seeds.layout_files().items()
        for file in files
    },
    "record of a run": Target("x.json", seeds.spec, _record, kind="json", inputs=600),
    "arrays of a run": Target("x.npz", lambda: seeds.npz(test_rank=seeds.np.arange(9)), _arrays),
    "datasets.yaml": Target(
        "datasets.yaml", partial(seeds.paper, "datasets.yaml"),
        lambda folder: sources.read_sources(folder / "datasets.yaml"),
        kind="yaml", inputs=60,
    ),
    "paper": Target(
        "dimo.yaml", partial(seeds.paper, "dimo.yaml"), _paper,
        lambda: {"sessions.yaml": seeds.paper("sessions.yaml")}, "yaml", 60,
    ),
    "reported.csv": Target(
        "x.csv", partial(seeds.paper, "reported.csv"), lambda folder: reported.reported(folder / "x.csv"),
        inputs=60,
    ),
    "weights": Target("x.safetensors", seeds.tensors, lambda folder: read_weights(folder / "x.safetensors")),
    "weights of torch": Target("x.pth", seeds.torch_file, lambda folder: read_weights(folder / "x.pth")),
    "weights of old torch": Target(
        "x.pth", partial(seeds.torch_file, _use_new_zipfile_serialization=False),
        lambda folder: read_weights(folder / "x.pth"),
    ),
    "notebook": Target("x.ipynb", seeds.notebook, lambda folder: declared_parameters(folder / "x.ipynb"), kind="json"),
    "parameters": Target(
        "x", lambda: b'"""d"""\nseeds = [1, 2]\nname: str = "x"\n', partial(_text, assigned), inputs=500
    ),
    "setting": Target("x", lambda: b"gates=[1, 0.5, true, {a: x}]", partial(_text, _assignments), inputs=800),
}  # fmt: skip
