"""How a data set is split, fed and scored: the clean protocol and the released one, by the same switches."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import check_kinds


@dataclass(frozen=True)
class Protocol:
    """Settings of splitting and selection; each released deviation is a switch (papers/dimo.yaml)."""

    name: str = "clean"
    #: How users' histories are split (data/interactions.py); "": as published, else MMRec's rule.
    split: str = ""
    #: Share of the training part carved off for selection where the data set brings no validation part.
    validation: float = 0.1
    #: Share of the sessions tested where the data set brings no split.
    test: float = 0.1
    #: The split is one property of the study, not of a run: every seed of every model sees the same cases.
    split_seed: int = 0
    #: Train on this share of the training part alone: of its sessions, or of every user's pairs (at least one). A
    #: smaller share is part of a larger one, and what is tested stays the same.
    train_share: float = 1.0
    #: Train on every prefix of a session instead of its last item only. DIMO releases no augmentation.
    augment: bool = False
    #: Prefixes keep their most recent items.
    max_length: int = 20
    #: D1: count the co-occurrence of validation and test sessions too, targets included.
    graph_with_test: bool = False
    #: D5: dropout is active in the first epoch only.
    dropout_first_epoch_only: bool = False
    #: D6: no validation part; report the best epoch on test, separately for each metric and cut-off. For users
    #: (AD-DRL): the epoch of the best test Recall@20.
    select_on_test: bool = False
    #: D7: the last batch is replaced by the last `batch_size` cases, in training and in the reported means.
    overlap_last_batch: bool = False
    #: AD-DRL: workers that begin from the same state draw the same negatives again (papers/addrl.md, item 16).
    repeated_negatives: bool = False

    @classmethod
    def clean(cls, **changes) -> Protocol:
        """Returns the study's own protocol: selection on validation, test scored once."""
        return _changed(cls(), changes)

    @classmethod
    def released(cls, **changes) -> Protocol:
        """Returns the protocol of the released DIMO code (papers/dimo.md, D1, D5, D6, D7)."""
        switches = ("graph_with_test", "dropout_first_epoch_only", "select_on_test", "overlap_last_batch")
        return _changed(cls(name="released", **dict.fromkeys(switches, True)), changes)


def check_share(share: float) -> float:
    """Returns the share as it is; one that leaves nothing, or is more than all, raises DisentrecError."""
    if not 0 < share <= 1:
        raise DisentrecError(f"train_share is {share:g}", how="Take a share above 0 and at most 1")
    return share


def _changed(protocol: Protocol, changes: dict) -> Protocol:
    valid = [field.name for field in fields(Protocol)]
    for name in changes:
        if name not in valid:
            raise unknown_name("protocol switch", name, valid)
    check_kinds(Protocol, changes)
    return replace(protocol, **changes)
