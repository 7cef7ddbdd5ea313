"""The command line: `disentrec data | encode | train | study | scorecard | bundle | notebook | book | doctor`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from disentrec import __version__
from disentrec.errors import DisentrecError
from disentrec.paths import DATA, RESULTS
from disentrec.reading import parse_yaml

#: The names of disentrec.data.sources.SOURCES, which takes half a second to import.
OFFICIAL = {
    "amazon-2014": "one category of the Amazon reviews of 1996 to 2014",
    "amazon-2018": "one category of the Amazon reviews of 1996 to 2018",
    "movielens-1m": "MovieLens-1M from GroupLens",
    "online-retail": "Online Retail II from UCI",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 2 for a problem the user can mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except DisentrecError as error:
        print(f"disentrec: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output, `head` for one, has seen enough; Python would complain once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("disentrec: stopped; finished runs are kept, the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="disentrec", description=__doc__)
    parser.add_argument("--version", action="version", version=f"disentrec {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line per epoch")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _data(commands.add_parser("data", help="make, import and inspect dataset folders"))
    _encode(commands.add_parser("encode", help="turn the texts and images of a dataset folder into features"))
    _train(commands.add_parser("train", help="train one model on one data set"))
    _study(commands.add_parser("study", help="run the artefacts of a paper"))
    card = commands.add_parser("scorecard", help="decide every claim from the records and print the verdicts")
    card.add_argument("--store", type=Path, default=RESULTS)
    card.set_defaults(run=_run_scorecard)
    bundle = commands.add_parser("bundle", help="write the results as one zip file, or check that it may be written")
    bundle.add_argument("out", type=Path, nargs="?", metavar="OUT.zip")
    bundle.add_argument("--check", action="store_true", help="fail where records no longer match the code")
    bundle.add_argument("--store", type=Path, default=RESULTS)
    bundle.set_defaults(run=_run_bundle)
    notebook = commands.add_parser("notebook", help="execute one notebook with parameters of your own")
    notebook.add_argument("name", help="a notebook below notebooks/, or a path")
    notebook.add_argument("-p", action="append", default=[], metavar="PARAMETER=VALUE", dest="parameters")
    notebook.add_argument("--out", type=Path, required=True, help="the executed notebook to write")
    notebook.set_defaults(run=_run_notebook)
    doctor = commands.add_parser("doctor", help="look at environment, data, disk and records, and say how to mend them")
    doctor.add_argument(
        "--full", action="store_true", help="read all data sets and compare them with their fingerprints"
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_run_doctor)
    book = commands.add_parser("book", help="execute the notebooks whose inputs changed into chapters of the book")
    book.add_argument("--force", action="store_true", help="execute all of them")
    book.add_argument("--only", nargs="*", default=None, metavar="CHAPTER")
    book.add_argument("--jobs", type=_positive, default=1, help="chapters at a time, under 1 GB of memory each")
    book.set_defaults(run=_run_book)
    return parser


def _data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the data sets of the study, and which are here")
    listing.set_defaults(run=_run_data_list)
    make = commands.add_parser("make", help="generate an embedded data set by its name in the study")
    make.add_argument("name")
    make.set_defaults(run=_run_data_make)
    fetch = commands.add_parser("import", help="import a folder of parquet or CSV files as a dataset folder")
    fetch.add_argument("source", type=Path)
    fetch.add_argument("target", type=Path, nargs="?", help="the dataset folder to write")
    fetch.add_argument("--name", help="a data set of the study: its own cut, below the data folder")
    fetch.add_argument("--layout", help="how the source is laid out; recognised if not given")
    fetch.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the layout")
    fetch.add_argument("--overwrite", action="store_true")
    fetch.set_defaults(run=_run_data_import)
    for name, title in OFFICIAL.items():
        _data_source(commands.add_parser(name, help=f"download {title}", description=f"Downloads {title}."), name)
    inspect = commands.add_parser("inspect", help="check a dataset folder and describe it")
    inspect.add_argument("folder", type=Path)
    inspect.set_defaults(run=_run_data_inspect)


def _data_source(parser: argparse.ArgumentParser, name: str) -> None:
    if name.startswith("amazon"):
        parser.add_argument("category", help="as in the names of the files: Beauty, Grocery_and_Gourmet_Food")
    parser.add_argument("target", type=Path, help="the dataset folder to write")
    parser.add_argument("--raw", type=Path, help="where downloads are kept or already lie; default: below data/raw")
    parser.add_argument("--sessions", metavar="RULE", help="daily, mmsbr, dimo, none, ...: how histories are cut")
    parser.add_argument("--core", type=int, default=5, help="least partners of every user and item; 0 keeps all")
    text = "take pictures too: urls (the default), or features (2014 only)"
    parser.add_argument("--images", nargs="?", const="urls", default="none", metavar="KIND", help=text)
    parser.add_argument("--base-url", metavar="URL", help="a mirror of the official place")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the source")
    parser.add_argument("--overwrite", action="store_true")
    parser.set_defaults(run=_run_data_source, source=name)


def _encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a dataset folder")
    parser.add_argument(
        "--text", metavar="NAME", help="tfidf-svd, minilm, bert-base-uncased, or a transformer's folder"
    )
    parser.add_argument("--image", metavar="NAME", help="colour-hog, googlenet, vit_b_16, own-labels")
    parser.add_argument(
        "--as", dest="name", metavar="FEATURE", help="what to call the feature; as its encoder if not given"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="PATH", help="a file for the image or a folder for the text encoder"
    )
    parser.add_argument("--dim", type=int, metavar="N", help="keep this many principal components")
    parser.add_argument("--columns", type=lambda value: value.split(","), help="of the text, such as title,description")
    parser.add_argument("--pooling", help="of a transformer's states: mean, cls, pooler")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longer texts are cut")
    parser.add_argument("--no-attention-mask", dest="attention_mask", action="store_false", default=None, help="M12")
    parser.add_argument("--no-eval-mode", dest="eval_mode", action="store_false", default=None, help="M11")
    parser.add_argument("--no-input-transform", dest="input_transform", action="store_false", default=None, help="M11")
    parser.add_argument("--level", type=int, metavar="N", help="of the categories that own-labels learns")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--device", help="cpu, cuda or cuda:NUMBER; cuda where there is one if not given")
    parser.add_argument("--recipe", metavar="NAME", help="a pseudo-modality instead: words-of-images, predicted, ...")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the recipe")
    parser.set_defaults(run=_run_encode)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model")
    parser.add_argument("dataset", help="a data set of the study, or a dataset folder")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="a setting of the model")
    parser.add_argument("--training", action="append", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--protocol", action="append", default=[], metavar="SWITCH=VALUE")
    parser.add_argument("--released", action="store_true", help="every released deviation on, in model and protocol")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("runs"), help="where the record is kept")
    parser.add_argument("--device", default="cpu")
    _precision(parser)
    _compile(parser)
    parser.add_argument("--threads", type=_positive, default=1)
    _checkpoint(parser)
    parser.set_defaults(run=_run_train)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PAPER[/ARTEFACT]")
    parser.add_argument("--budget", default="demo", help="demo, real or paper")
    parser.add_argument("--datasets", nargs="*", default=[], metavar="NAME")
    parser.add_argument(
        "--jobs", type=_positive, default=1, help="runs at a time, one thread each; on a GPU they share it"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:NUMBER; with Ray use --gpus-per-run")
    _precision(parser)
    _compile(parser)
    parser.add_argument("--store", type=Path, default=RESULTS)
    parser.add_argument("--plan", action="store_true", help="only count the runs that are left")
    _checkpoint(parser)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster")
    ray = parser.add_argument_group("with --engine ray")
    ray.add_argument("--address", help="auto, or host:port of the cluster's head; without it one is started here")
    ray.add_argument("--gpus-per-run", type=float, default=0.0, metavar="SHARE", help="0.25: four runs on each GPU")
    ray.add_argument("--retries", type=int, default=3, metavar="N", help="of a run whose process or machine is lost")
    ray.add_argument("--shared-data", action="store_true", help="all machines see the data folder under the same path")
    ray.add_argument("--scratch", type=Path, help="where machines keep data and checkpoints; may be a shared disk")
    parser.set_defaults(run=_run_study)


def _precision(parser: argparse.ArgumentParser) -> None:
    text = "what layers multiply in while a model is trained: float32, tf32 (NVIDIA) or bf16; the record names it"
    parser.add_argument("--precision", default="float32", help=text)


def _compile(parser: argparse.ArgumentParser) -> None:
    text = "training steps by torch.compile, of models of users; pays in long runs; the record names it"
    parser.add_argument("--compile", dest="compiled", action="store_true", help=text)


def _checkpoint(parser: argparse.ArgumentParser) -> None:
    text = "keep a training so often, at the end of an epoch, to go on from after a kill; default: 60"
    parser.add_argument("--checkpoint", type=float, default=60.0, metavar="SECONDS", help=text)


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Returns `NAME=VALUE` pairs as a dictionary, values read as YAML (`true`, `0.1`, `[1, 2]`)."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and name):
            raise DisentrecError(f"not of the form NAME=VALUE: {pair!r}")
        try:
            found[name] = parse_yaml(value)
        except ValueError as error:
            raise DisentrecError(f"the value of {name} is not readable: {value!r}") from error
    return found


def _run_data_list(options: argparse.Namespace) -> None:
    from disentrec.study.sources import sources

    for name, source in sources().items():
        here = "here" if (DATA / name / "dataset.json").exists() else "-"
        print(f"{name:28} {here:5} {source.title}")


def _run_data_make(options: argparse.Namespace) -> None:
    from disentrec.study.datasets import dataset_folder

    print(dataset_folder(options.name))


def _run_data_import(options: argparse.Namespace) -> None:
    from disentrec.data.layouts import import_layout
    from disentrec.study.datasets import import_dataset

    if options.name is not None:
        print(import_dataset(options.name, options.source, overwrite=options.overwrite))
        return
    if options.target is None:
        raise DisentrecError("where to write the data set is not said", how="Give a TARGET folder, or --name NAME")
    extra = assignments(options.set)
    dataset = import_layout(options.source, options.target, layout=options.layout, overwrite=options.overwrite, **extra)
    print(dataset.folder)


def _run_data_source(options: argparse.Namespace) -> None:
    from disentrec.data.sources import fetch_source

    names = ("category", "raw", "base_url", "sessions", "core", "images", "overwrite")
    given = {name: value for name, value in vars(options).items() if name in names}
    dataset = fetch_source(options.source, options.target, **given, options=assignments(options.set))
    print(dataset.folder)


def _run_data_inspect(options: argparse.Namespace) -> None:
    from disentrec.data.schema import inspect_dataset

    print(inspect_dataset(options.folder))


def _run_encode(options: argparse.Namespace) -> None:
    from disentrec.data.schema import read_dataset
    from disentrec.encode.features import encode

    if options.recipe is not None:
        from disentrec.study.features import make_feature

        recipe = {"recipe": options.recipe, **assignments(options.set)}
        name = options.name or options.recipe
        record = make_feature(read_dataset(options.folder), name, recipe)
        print(f"{name}: {record['dim']} dimensions, {record['covered']} items")
        return
    apart = ("folder", "weights", "recipe", "set", "run", "verbose")
    given = {key: value for key, value in vars(options).items() if key not in apart}
    if options.weights is not None:
        given["model_folder" if options.weights.is_dir() else "weights"] = options.weights
    for name, record in encode(read_dataset(options.folder), **given).items():
        print(f"{name}: {record['dim']} dimensions, {record['covered']} of {record['items']} items")


def _run_train(options: argparse.Namespace) -> None:
    from disentrec import models
    from disentrec.data.protocol import Protocol
    from disentrec.data.schema import read_dataset
    from disentrec.encode.store import feature_records
    from disentrec.study.cases import split_rule
    from disentrec.study.datasets import dataset_folder
    from disentrec.study.papers import load_paper
    from disentrec.study.runner import run
    from disentrec.study.spec import RunSpec, encoded_for, training_settings
    from disentrec.study.store import Store

    settings = assignments(options.set)
    if options.released:
        released = getattr(models.get(options.model).Config, "released", None)
        if released is None:
            raise DisentrecError(f"the model {options.model!r} has no released deviations", how="Drop --released")
        settings = vars(released(**settings))
    folder = dataset_folder(options.dataset)
    dataset = read_dataset(folder)
    row = load_paper(options.model).artefact("main").row("released") if options.released else None
    protocol = {"split": split_rule(options.dataset)} if models.get(options.model).task == "top-n" else {}
    protocol |= {**(row.protocol if row else {}), **assignments(options.protocol)}
    spec = RunSpec(
        model=options.model,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        settings=settings,
        protocol=Protocol.clean(**protocol),
        training=training_settings({**(row.training if row else {}), **assignments(options.training)}),
        seed=options.seed,
        budget="own",
        encoded=encoded_for(models.configure(options.model, settings), feature_records(folder)),
    )
    if options.compiled and not models.get(options.model).compiles:
        raise DisentrecError(f"the steps of {options.model!r} are not compiled", how="Drop --compile")
    store = Store(options.store)
    store.tidy()
    machine = {name: getattr(options, name) for name in ("threads", "device", "precision", "compiled", "checkpoint")}
    record = run(spec, folder, store, **machine)
    print(f"{record.content['status']}: {record.path}")
    print(json.dumps(record.content["metrics"]["test"], indent=1))


def _run_study(options: argparse.Namespace) -> None:
    from disentrec.study import Study
    from disentrec.study.grid import run_grid

    paper, _, artefact = options.what.partition("/")
    study = Study(paper, options.budget, options.store)
    names = [artefact] if artefact else list(study.paper.artefacts)
    if options.plan:
        for name in names:
            chosen = study.paper.artefact(name)
            for dataset in options.datasets or study.datasets(chosen):
                rows = study.result(name, dataset)
                done, missing = sum(len(row.records) for row in rows), sum(row.missing for row in rows)
                print(f"{paper}/{name} on {dataset}: {done} runs done, {missing} left")
        return
    engine = partial(run_grid, device=options.device, precision=options.precision, compiled=options.compiled)
    if options.engine == "ray":
        from disentrec.study.cluster import Cluster

        own = ("address", "gpus_per_run", "precision", "compiled", "retries", "shared_data", "scratch")
        engine = Cluster(**{name: getattr(options, name) for name in own})
    study.run(names, options.datasets, jobs=options.jobs, checkpoint=options.checkpoint, engine=engine)


def _run_scorecard(options: argparse.Namespace) -> None:
    from disentrec.report.scorecard import print_scorecard, write_scorecard

    print_scorecard(write_scorecard(options.store))


def _run_doctor(options: argparse.Namespace) -> int:
    from disentrec.doctor import PROBLEM, examine

    findings = examine(full=options.full)
    print(
        json.dumps([vars(finding) for finding in findings], indent=1) if options.json else "\n".join(map(str, findings))
    )
    return 2 if any(finding.status == PROBLEM for finding in findings) else 0


def _run_bundle(options: argparse.Namespace) -> None:
    from disentrec.report.bundle import check_bundle, write_bundle

    if options.out is None and not options.check:
        raise DisentrecError("where to write the bundle is not said", how="Give OUT.zip, or --check")
    if options.check:
        found = check_bundle(options.store)
        for hash_ in found.unnamed:
            print(f"no table asks for the run {hash_}")
        if found.faults:
            what = f"{len(found.faults)} of what is published no longer match: {'; '.join(found.faults[:20])}"
            raise DisentrecError(what, where=options.store, how="Run them again, or bring back the code that made them")
        print(f"{found.runs} records match the code, {len(found.unnamed)} of them stand in no table")
    if options.out is not None:
        print(write_bundle(options.out, options.store))


def _run_notebook(options: argparse.Namespace) -> None:
    from disentrec.report.notebooks import find_notebook, run_notebook

    print(run_notebook(find_notebook(options.name), options.out, assignments(options.parameters)))


def _run_book(options: argparse.Namespace) -> None:
    from disentrec.report.book import execute_book

    for chapter in execute_book(only=options.only, force=options.force, jobs=options.jobs):
        print(chapter)


if __name__ == "__main__":
    sys.exit(main())
