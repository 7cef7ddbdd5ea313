"""The door to runs: what a notebook or the command line asks for, and the store it comes from."""

from disentrec.study.papers import load_paper, paper_names
from disentrec.study.spec import RunSpec
from disentrec.study.store import RunRecord, Store
from disentrec.study.study import RowResult, Study, planned

__all__ = ["RowResult", "RunRecord", "RunSpec", "Store", "Study", "load_paper", "paper_names", "planned"]
