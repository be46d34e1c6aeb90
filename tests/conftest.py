"""Nothing but the order of imports: mmkd first, so that mmtrack imports on the modern stack too."""

import mmkd  # noqa: F401
