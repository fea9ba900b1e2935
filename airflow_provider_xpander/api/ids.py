"""Rules for ids and other short texts of a request, of which a template may have made nothing, or rubbish."""

from __future__ import annotations

import unicodedata

from airflow_provider_xpander.api.errors import XpanderValidationError

NULL = "None"
"""What Jinja makes of a parameter or an XCom that is null."""


def check_id(name: str, value: object) -> str:
    """
    Return an id that can be one: not empty, not null, and without blanks or invisible characters.

    :param name: of the field, for the message.
    :param value: the id.
    :raises XpanderValidationError: names the field, the value, and the character by its name.
    """
    if not isinstance(value, str) or not value.strip() or value.strip() == NULL:
        raise XpanderValidationError(f"{name} must be a non-empty string, got {value!r}")
    for position, character in enumerate(value, 1):
        if unicodedata.category(character)[0] in "CZ":  # control, format, surrogate, separator
            called = unicodedata.name(character, "a control character")
            raise XpanderValidationError(
                f"{name} has U+{ord(character):04X} ({called}) as its character {position}, which no id has, "
                f"got {ascii(value)}"
            )
    return value


def given(name: str, value: str | None) -> str | None:
    """
    Return an optional text, or None where it is unset: None, empty, or nothing but blanks.

    :param name: of the field, for the message.
    :param value: the text.
    :raises XpanderValidationError: it is ``"None"``: a null that a template has made a text of.
    """
    if value is None or not value.strip():
        return None
    if value.strip() == NULL:
        raise XpanderValidationError(
            f"{name} is the text {value!r}, which is what a template makes of null; to leave it unset, let "
            f"the template give an empty text, as {{{{ ... or '' }}}} does"
        )
    return value
