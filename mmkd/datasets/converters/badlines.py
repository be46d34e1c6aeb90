"""What a converter does with what it cannot use: stop and name it, or count it and go on."""

from __future__ import annotations

from collections import Counter

from mmkd.errors import MMKDError


class BadLines:
    """Stops at the first bad line, or counts bad lines by reason.

    Args:
        skip: Count instead of raising.

    Attributes:
        counts: Reason -> how often, of what was left out.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.counts: Counter = Counter()

    def add(self, where: str, reason: str, detail: str = '', text: str = '') -> None:
        """Tells of something bad.

        Args:
            where: File and line.
            reason: What is wrong, in words that are the same for all such lines.
            detail: What is wrong with this one, if more can be said.
            text: The line itself.

        Raises:
            MMKDError: If bad lines are not to be skipped.
        """
        if not self.skip:
            quote = f" The line is '{text.strip()[:80]}'." if text else ''
            raise MMKDError(
                f'{where}: {reason}{detail}.{quote} Repair it, or leave such things out with '
                f'--skip-bad.'
            )
        self.counts[reason] += 1
