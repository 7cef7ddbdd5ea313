"""From the name of a data set to its folder: the embedded shop is made on first use, the rest is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from disentrec import processor
from disentrec.data.drafts import claim
from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import DATA
from disentrec.study.sources import sources


def dataset_folder(name: str, root: Path = DATA) -> Path:
    """Returns the folder of a data set, making it if it is an embedded one.

    `name` is one of papers/datasets.yaml, a folder below the data folder, or a path to any dataset folder. A missing
    folder raises DisentrecError saying how to get it.
    """
    if name not in sources():
        if Path(name).name == name and (root / name / "dataset.json").exists():
            return root / name
        if (Path(name) / "dataset.json").exists():
            return Path(name).resolve()
        raise unknown_name(
            "data set", name, sources(), where="papers/datasets.yaml, and no dataset folder of that path"
        )
    source, folder = sources()[name], root / name
    if (folder / "dataset.json").exists():
        return folder
    if source.source == "bazaar":
        if not processor.settled():
            return _made_apart(name, root)
        from disentrec.data.bazaar import BazaarParameters, write_bazaar

        with claim(root / f".{name}.lock"):
            if not (folder / "dataset.json").exists():  # another process may have made it meanwhile
                write_bazaar(folder, BazaarParameters.preset(source.scale, **source.knobs))
        return folder
    raise DisentrecError(
        f"the data set {name!r} is not here",
        where=folder,
        how=f"Get it with: disentrec data import FOLDER/{source.folder} --name {name}"
        " (book/how_to_run.md says where such folders come from)",
    )


def _made_apart(name: str, root: Path) -> Path:
    """Makes an embedded data set in a process that multiplies as the published ones did, and returns the folder."""
    make = "import sys; from disentrec.study import datasets as d; d.dataset_folder(sys.argv[1], d.Path(sys.argv[2]))"
    command = [sys.executable, "-c", make, name, str(Path(root).resolve())]
    done = subprocess.run(command, env=os.environ | processor.KERNELS, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise DisentrecError(f"the data set {name!r} could not be made: {said[-1]}", where=root / name)
    return root / name


def import_dataset(name: str, origin: Path, root: Path = DATA, *, overwrite: bool = False) -> Path:
    """Imports a shared parquet layout under its name in the study and returns the folder."""
    if name not in sources() or sources()[name].layout is None:
        importable = [source.name for source in sources().values() if source.layout]
        raise unknown_name("importable data set", name, importable, where="papers/datasets.yaml")
    from disentrec.data.layouts import import_layout

    source, folder = sources()[name], root / name
    import_layout(origin, folder, layout=source.layout, name=name, overwrite=overwrite, **source.options)
    return folder
