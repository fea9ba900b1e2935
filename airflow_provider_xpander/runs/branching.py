"""The choice of a branch: how an agent is asked for it, what it has chosen, and whether that will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.question import Question, as_text


@dataclass(frozen=True)
class Branches:
    """
    What may be chosen.

    :param descriptions: what each branch is for, by the id of its task or task group.
    :param multiple: whether several may be chosen.
    :param min_confidence: what the agent's confidence has to be at the least, or None.
    """

    descriptions: Mapping[str, str]
    multiple: bool = False
    min_confidence: float | None = None

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the answer."""
        one: dict[str, Any] = {"type": "string", "enum": list(self.descriptions)}
        several = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}
        name, choice = ("branches", several) if self.multiple else ("branch", one)
        return {
            "type": "object",
            "properties": {
                name: choice | {"description": self.asked()},
                "confidence": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "description": "How sure you are of the choice, from 0 to 1.",
                },
                "reason": {"type": "string", "description": "Why, in one sentence."},
            },
            "required": [name, "confidence", "reason"],
        }

    def asked(self) -> str:
        """Return what the agent is told of the choice."""
        what = "Choose each branch that applies" if self.multiple else "Choose the one branch that fits"
        listed = "\n".join(f"- {name}: {about}" for name, about in self.descriptions.items())
        return f"{what}:\n{listed}"

    def read(self, answer: Mapping[str, Any]) -> Chosen:
        """
        Read an answer that matches the schema.

        :param answer: the answer.
        """
        found = answer["branches"] if self.multiple else [answer["branch"]]
        return Chosen(tuple(found), float(answer["confidence"]), printable(answer["reason"], 500))

    def doubt(self, chosen: Chosen) -> str | None:
        """
        Return why a choice is not sure enough, or None if it is.

        :param chosen: what the agent has chosen.
        """
        if self.min_confidence is None or chosen.confidence >= self.min_confidence:
            return None
        return (
            f"The agent chose {', '.join(chosen.branches)} with a confidence of {chosen.confidence:g}, which "
            f"is less than min_confidence={self.min_confidence:g}. Its reason: {chosen.reason}"
        )

    def question(self, doubt: str, link: str | None) -> Question:
        """
        Return the question to a person who is to choose instead.

        :param doubt: why the agent's choice does not hold; it may come from the agent, and is shown as text.
        :param link: address of the run, if it is known.
        """
        listed = [f"- **{as_text(name)}**: {as_text(about)}" for name, about in self.descriptions.items()]
        lines = [as_text(doubt), "", *listed]
        if link:
            lines += ["", f"The run: {as_text(link)}"]
        return Question("Which branch is to be taken?", "\n".join(lines))


@dataclass(frozen=True)
class Chosen:
    """
    What an agent has chosen.

    :param branches: ids of tasks or task groups.
    :param confidence: how sure it is, from 0 to 1.
    :param reason: why, in a line.
    """

    branches: tuple[str, ...]
    confidence: float
    reason: str
