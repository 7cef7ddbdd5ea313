"""The door to runs: what a notebook or the command line asks for, and the store it comes from."""

from disentrec.study.papers import load_paper, paper_names
from disentrec.study.spec import RunSpec
from disentrec.study.store import RunRecord, Store
from disentrec.study.study import RowResult, Study, half_run, planned

__all__ = ["RowResult", "RunRecord", "RunSpec", "Store", "Study", "half_run", "load_paper", "paper_names", "planned"]
