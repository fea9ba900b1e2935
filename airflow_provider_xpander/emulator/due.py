"""The count behind everything that goes wrong a limited number of times."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr


class Due(BaseModel):
    """
    Something that happens to a limited number of those that it fits.

    :param after: so many go well first.
    :param times: then it happens to so many; None is all of them.
    """

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)

    _seen: int = PrivateAttr(default=0)

    @property
    def hits(self) -> int:
        """How many it has happened to."""
        hits = max(0, self._seen - self.after)
        return hits if self.times is None else min(hits, self.times)

    def count(self) -> bool:
        """Count one that it fits, and tell whether it happens to this one."""
        before = self.hits
        self._seen += 1
        return self.hits > before
