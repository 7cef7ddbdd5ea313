"""What a trained model holds besides its accuracy: one file per question, one function to ask the right one.

Measures are numbers in the record; arrays are what figures and later tests need, one row per test case or per sampled
session, item or user. Models never see truth; where an embedded shop's truth is used, the function says so.
"""

from __future__ import annotations

import torch

from disentrec.data.interactions import TopNSplit
from disentrec.data.schema import Dataset
from disentrec.data.sessions import SessionSplit
from disentrec.errors import DisentrecError, unknown_name
from disentrec.models.addrl import ADDRL
from disentrec.models.base import SessionModel, TopNModel
from disentrec.models.dimo import DIMO
from disentrec.models.idsf import IDSF
from disentrec.models.lightgcn import LightGCN
from disentrec.models.mmsbr import MMSBR
from disentrec.study.analysis.base import SAMPLE, Analysis
from disentrec.study.analysis.causes import analyse_causes
from disentrec.study.analysis.chunks import analyse_chunks
from disentrec.study.analysis.ids import analyse_ids
from disentrec.study.analysis.modalities import analyse_modalities
from disentrec.study.analysis.reasons import analyse_reasons
from disentrec.study.analysis.truth import analyse_truth

__all__ = ["SAMPLE", "Analysis", "analyse"]

QUESTIONS = ("own", "truth", "reasons")


@torch.no_grad()
def analyse(
    model: SessionModel | TopNModel, dataset: Dataset, split: SessionSplit | TopNSplit, question: str = "own"
) -> Analysis:
    """Returns what the papers ask of their own model; under "truth" what the shop's truth says of it; under "reasons"
    what explanations of its recommendations are worth.

    A model that nobody asks the question of raises DisentrecError.
    """
    if question not in QUESTIONS:
        raise unknown_name("question", question, QUESTIONS, where=f"model {model.name}")
    was_training = model.training
    model.eval()
    if question == "truth":
        found = analyse_truth(model, dataset, split)
    elif question == "reasons":
        found = analyse_reasons(model, dataset, split)
    elif isinstance(model, DIMO) and model.config.use == "both":
        found = analyse_causes(model, dataset, split)
    elif isinstance(model, MMSBR) and len(model.names) > 1:
        found = analyse_modalities(model, dataset)
    elif isinstance(model, ADDRL):
        found = analyse_chunks(model, dataset, split)
    elif isinstance(model, LightGCN | IDSF):
        found = analyse_ids(model, dataset, split)
    else:
        raise DisentrecError(
            "DIMO with both causes, MMSBR with two modalities, AD-DRL, IDSF and LightGCN can be analysed",
            where=f"model {model.name}",
            how="Drop `analyse` from this row",
        )
    model.train(was_training)
    return found
