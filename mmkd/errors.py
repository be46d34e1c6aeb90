"""The one exception that mmkd raises for what a user can get wrong."""

from __future__ import annotations

import difflib
from typing import Iterable


class MMKDError(Exception):
    """A mistake in a config, a file or an environment, told in a sentence.

    The message says what was wrong, where, what was expected and, where there is one, the nearest
    valid choice. Bugs of our own are asserts; they never use this class.
    """


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """Ends an error message with the valid choices closest to what the user typed.

    Args:
        name: What was typed.
        choices: Everything that would have been valid.
        limit: How many near misses to name.

    Returns:
        ``"Did you mean 'a' or 'b'?"``, or the list of all choices if none is close, or an empty
        string if there are no choices at all.
    """
    pool = sorted(str(choice) for choice in choices)
    close = difflib.get_close_matches(str(name), pool, n=limit, cutoff=0.5)
    if close:
        return 'Did you mean ' + ' or '.join(repr(choice) for choice in close) + '?'
    if pool:
        return 'Valid choices: ' + ', '.join(repr(choice) for choice in pool) + '.'
    return ''
