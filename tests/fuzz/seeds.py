"""Small valid files of every form that is read: what the fuzzers begin from."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from PIL import Image

from disentrec.data.columns import session_table
from disentrec.data.schema import write_dataset
from disentrec.data.sequences import Sequences
from disentrec.data.sources.amazon_files import RECORD
from disentrec.encode.store import write_feature
from disentrec.paths import NOTEBOOKS, PAPERS

REVIEW = {"reviewerID": "A1", "asin": "B000000001", "overall": 5.0, "unixReviewTime": 1_400_000_000}
OLD = {
    "asin": "B000000001", "title": "A &amp; B", "price": 5.25, "imUrl": "http://x/1.jpg", "brand": "b",
    "salesRank": {"Toys": 3}, "categories": [["Toys", "Games"]], "description": "words",
}  # fmt: skip
NEW = {
    "asin": "B000000001", "title": "A", "price": "$1,299.00 - $2,000", "imageURLHighRes": ["http://x/1.jpg"],
    "brand": "b", "rank": [">#1,234 in Toys ("], "category": ["Toys", "Games"], "description": ["some", "words"],
}  # fmt: skip
HEAD = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"


def lines(*rows: bytes) -> bytes:
    return b"\n".join(rows) + b"\n"


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return out.getvalue()


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((9, 7), 50).convert("RGB").save(out, kind)
    return out.getvalue()


def torch_file(**options: object) -> bytes:
    out = io.BytesIO()
    torch.save({"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.int64)}, out, **options)
    return out.getvalue()


def products_of_2014() -> bytes:
    return lines(*[repr(OLD | {"asin": f"B00000000{n}"}).encode() for n in range(3)])


def products_of_2018() -> bytes:
    return lines(*[json.dumps(NEW | {"asin": f"B00000000{n}"}).encode() for n in range(3)])


def reviews() -> bytes:
    return lines(*[json.dumps(REVIEW | {"reviewerID": f"A{n}"}).encode() for n in range(3)])


def image_features() -> bytes:
    table = np.zeros(2, dtype=RECORD)
    table["asin"], table["values"] = [b"B000000001", b"B000000002"], 1
    return table.tobytes()


def movielens() -> bytes:
    rows = [f"{user}::{film}::4::{user * 86_400 + film * 60}" for user in range(12) for film in range(4)]
    films = [f"{film}::Film {film} (1999)::Drama|Comedy" for film in range(4)]
    return archive(**{"ml-1m/ratings.dat": "\n".join(rows).encode(), "ml-1m/movies.dat": "\n".join(films).encode()})


def sales() -> bytes:
    rows = [
        f"{500_000 + invoice},{20_000 + code},THING {code},2,2010-01-{invoice + 1:02} 10:30:00,1.25,13085.0,UK"
        for invoice in range(20)
        for code in range(3)
    ]
    return "\n".join([HEAD, *rows]).encode()


def spec() -> bytes:
    """A record of a run, such as the store keeps."""
    from disentrec.study.spec import RunSpec

    content = {"format": 1, "status": "finished", "hash": "0" * 16, "metrics": {"test": {"mrr@20": 0.5}}}
    made = RunSpec(model="sr-gnn", dataset="bazaar-tiny", fingerprint="0" * 64, encoded={"text": "0" * 64})
    return json.dumps(content | {"spec": made.to_json()}).encode()


def notebook() -> bytes:
    return (NOTEBOOKS / "calibration.ipynb").read_bytes()


def paper(name: str) -> bytes:
    return (PAPERS / name).read_bytes()


@cache
def dataset_files() -> dict[str, bytes]:
    """A whole dataset folder with everything that one can hold: path -> bytes."""
    n, rng = 6, np.random.default_rng(0)
    items = pd.DataFrame({"item": range(n), "title": [f"Thing {i}" for i in range(n)], "price": np.arange(n) + 0.5})
    items["category"], items["sales_rank"], items["brand"] = "a|b", 1.0, "x"
    lists = Sequences.from_lists([[0, 1], [1, 2, 3], [3, 4, 5], [2, 5]])
    split = ["train", "train", "valid", "test"]
    with TemporaryDirectory() as place:
        folder = Path(place) / "small"
        write_dataset(
            folder,
            name="small",
            items=items,
            sessions=session_table(lists, user=[0, 1, 1, -1], time=[1, 2, 3, 4], split=split),
            interactions=pd.DataFrame({"user": [0, 0, 1, 1], "item": [0, 1, 2, 3], "time": [1, 2, 1, 2]}),
            features={"text": rng.normal(size=(n, 4)).astype(np.float32)},
            images={2: picture("PNG")},
            licence="none",
            provenance="made here",
            extra={"split_by": "time", "repeats": False},
        )
        write_feature(folder, "words", np.ones((n, 3)), {"kind": "text"})
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@cache
def layout_files() -> dict[str, dict[str, bytes]]:
    """A folder of every layout that can be imported: layout -> path -> bytes."""
    ids = np.repeat(np.arange(16), 24)
    order, blocks = np.tile(np.arange(24, dtype=np.int32), 16), 24 * 16
    films = (order + 3 * ids) % 24  # nobody's last film is everybody's
    titles = [f"word{i} thing" for i in range(24)]
    prefixes = pa.array([[1 + i % 5, 2 + i % 5] for i in range(20)], pa.list_(pa.int32()))
    targets = pa.array([3 + i % 5 for i in range(20)], pa.int32())
    session_file = parquet(session=prefixes, target=targets)
    amazon = parquet(user=ids, item=films, seq_pos=order)
    named = parquet(item=np.arange(24), native_id=titles, title=titles, categories=titles, price=np.arange(24.0))
    stamps = ids.astype(np.int64) * 86_400
    return {
        "sessions": {"train.parquet": session_file, "test.parquet": session_file},
        "mmsbr-sports": {
            "test.parquet": session_file,
            "items.parquet": parquet(item=np.arange(1, 9), price_level=np.ones(8, int), category=np.arange(8)),
        },
        "online-retail": {
            "interactions.parquet": parquet(
                user=ids, session=ids, item=films, pos=order, timestamp=stamps, price=np.ones(blocks)
            ),
            "items.parquet": named,
        },
        "movielens-1m": {
            "interactions.parquet": parquet(user=ids, item=films, native_item=films, seq_pos=order),
            "items.parquet": parquet(
                item=np.arange(24), native_id=titles, title=titles, genres=titles, abstract=titles, year=np.arange(24)
            ),
            "image_feat_hsv_hog_432.npy": npy(np.ones((24, 3), np.float32)),
        },
        "amazon-sessions": {
            "interactions.parquet": amazon, "items.parquet": named, "image.npy": npy(np.ones((24, 3), np.float32)),
        },
        "amazon": {
            "interactions.parquet": parquet(user=ids, item=films, split=["train", "valid", "test"] * (blocks // 3)),
            "items.parquet": named, "image.npy": npy(np.ones((24, 3), np.float32)),
        },
    }  # fmt: skip


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def tensors() -> bytes:
    return safetensors.torch.save({"a": torch.ones(2, 3)})
