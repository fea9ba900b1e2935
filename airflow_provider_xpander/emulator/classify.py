"""A support-ticket classifier made of word lists: enough for examples to look alive, the same every time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Topic:
    """Names that an enum may have for a topic, and words of a ticket that hint at it."""

    names: str
    hints: str


_TOPICS = (
    _Topic(
        "billing payment payments invoice finance money subscription",
        "invoice invoiced charge charged refund payment paid pay billing bill price subscription card receipt"
        " vat renewal",
    ),
    _Topic(
        "bug bugs defect error incident technical problem issue",
        "bug error errors crash crashes crashed broken fails failing failed exception traceback freezes wrong"
        " outage down 500 404",
    ),
    _Topic(
        "access login account auth authentication permission permissions identity",
        "login log-in sign-in signin password sso locked permission permissions access 2fa mfa unauthorized"
        " account forbidden",
    ),
    _Topic(
        "feature features enhancement idea suggestion wish improvement",
        "feature wish suggestion roadmap enhancement would-be-nice please-add could-you-add dark-mode"
        " integrate integration support-for",
    ),
    _Topic("performance slow speed latency", "slow slowly latency timeout timeouts lag hangs performance"),
    _Topic(
        "security abuse phishing spam", "security breach leak leaked phishing hacked vulnerability malware"
    ),
    _Topic(
        "question questions how-to howto help info information",
        "how-do how-can where-is what-is question wondering",
    ),
    _Topic(
        "positive happy satisfied",
        "thanks thank great love excellent awesome perfect happy good helpful",
    ),
    _Topic(
        "negative angry unhappy frustrated upset",
        "angry unacceptable terrible awful frustrated disappointed worst annoyed bad hate ridiculous twice"
        " cannot broken fails crash crashes crashed locked down wrong urgent error",
    ),
)
_CATEGORIES = ("billing", "bug", "access", "feature", "performance", "security", "question")
_SENTIMENTS = ("positive", "neutral", "negative")
_FALLBACKS = ("other", "general", "misc", "none", "unknown", "neutral", "mixed")

LEVELS = ("low", "medium", "high", "urgent")
_LEVEL_NAMES = {
    "lowest": 0, "low": 0, "minor": 0, "trivial": 0, "p4": 0, "sev4": 0,
    "medium": 1, "normal": 1, "moderate": 1, "mid": 1, "p3": 1, "sev3": 1,
    "high": 2, "major": 2, "p2": 2, "sev2": 2,
    "urgent": 3, "critical": 3, "highest": 3, "blocker": 3, "emergency": 3, "p1": 3, "sev1": 3,
}  # fmt: skip
_URGENT = "urgent urgently asap immediately emergency outage critical production down data-loss"
_HIGH = "blocked blocker blocking cannot cant locked charged-twice crash crashes crashed deadline soon"
_LOW = "no-rush whenever minor typo cosmetic someday nice-to-have would-be-nice wish suggestion low-priority"


def words(text: str) -> str:
    """
    Return the words of a text in lower case, each between single spaces; hyphens count as spaces.

    :param text: any text.
    """
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.casefold().replace(chr(39), '')))} "


def hits(text: str, hints: str) -> list[str]:
    """
    Return the hints that occur in the text.

    :param text: any text.
    :param hints: separated by spaces; the words of one by hyphens.
    """
    haystack = words(text)
    found = [words(hint) for hint in hints.split() if words(hint) in haystack]
    return [hint.strip() for hint in dict.fromkeys(found)]


def topic_hits(name: str, text: str) -> list[str]:
    """
    Return the words of the text that hint at the topics which ``name`` is a name of.

    :param name: an option, such as the value of an enum.
    :param text: the ticket.
    """
    found: list[str] = []
    for topic in _TOPICS:
        if hits(name, topic.names):
            found += hits(text, topic.hints)
    return found


def level(text: str) -> int:
    """
    Return how pressing a ticket is: 0 (low) to 3 (urgent).

    :param text: the ticket.
    """
    if hits(text, _URGENT):
        return 3
    if hits(text, _HIGH):
        return 2
    return 0 if hits(text, _LOW) else 1


def is_scale(options: Sequence[str]) -> bool:
    """
    Whether the options are steps of a scale such as low, medium, high.

    :param options: the values of an enum.
    """
    return len(options) > 1 and all(words(option).strip() in _LEVEL_NAMES for option in options)


def pick_level(text: str, options: Sequence[str]) -> str:
    """
    Return the step of a scale that is nearest to how pressing the ticket is.

    :param text: the ticket.
    :param options: what to choose from.
    """
    wanted = level(text)
    return min(options, key=lambda option: abs(_LEVEL_NAMES[words(option).strip()] - wanted))


def pick(text: str, options: Sequence[str]) -> str:
    """
    Return the option that a ticket is about: the one with most hints, or else one like ``other``.

    :param text: the ticket.
    :param options: what to choose from.
    """
    if is_scale(options):
        return pick_level(text, options)
    scores = {option: len(topic_hits(option, text)) + (words(option) in words(text)) for option in options}
    best = max(options, key=lambda option: scores[option])
    if scores[best]:
        return best
    return next((option for option in options if hits(option, " ".join(_FALLBACKS))), options[-1])


@dataclass(frozen=True)
class Ticket:
    """What the classifier makes of a ticket."""

    category: str
    priority: str
    sentiment: str
    summary: str


def classify(text: str) -> Ticket:
    """
    Classify a ticket with the classifier's own labels.

    :param text: the ticket.
    """
    return Ticket(
        category=pick(text, (*_CATEGORIES, "other")),
        priority=LEVELS[level(text)],
        sentiment=pick(text, _SENTIMENTS),
        summary=summarize(text),
    )


def summarize(text: str, limit: int = 120) -> str:
    """
    Return the first sentence of a text.

    :param text: the ticket.
    :param limit: characters at the most.
    """
    sentence = re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]
    return sentence if len(sentence) <= limit else sentence[: limit - 1].rstrip() + "…"
