"""The one error of the package: it says what is wrong, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class DisentrecError(Exception):
    """A problem the user can mend; `str(error)` reads "what (in where). How to mend."."""

    def __init__(self, what: str, *, where: object = None, how: str | None = None) -> None:
        self.what, self.where, self.how = what, where, how
        text = what if where is None else f"{what} (in {where})"
        super().__init__(text if how is None else f"{text}. {how}")

    def __reduce__(self):
        # Raised in worker processes and sent to the parent: keep the three parts apart.
        return _rebuild, (self.what, self.where, self.how)


def _rebuild(what: str, where: object, how: str | None) -> DisentrecError:
    return DisentrecError(what, where=where, how=how)


def unknown_name(kind: str, name: object, valid: Iterable[str], *, where: object = None) -> DisentrecError:
    """Returns the error for a misspelt name: it lists every valid one."""
    return DisentrecError(f"unknown {kind} {name!r}", where=where, how=f"Valid: {', '.join(sorted(valid))}")
