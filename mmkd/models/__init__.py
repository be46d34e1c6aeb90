"""The trackers that mmkd distils into, where mmtrack has none."""

from .backbones import *  # noqa: F403
from .heads import *  # noqa: F403
from .mot import *  # noqa: F403
from .necks import *  # noqa: F403
from .sot import *  # noqa: F403
from .trackers import *  # noqa: F403
