"""Knowledge distillation for visual trackers, inside OpenMMLab.

Importing this package costs no torch and no mmtrack: it only puts the hook of
:mod:`mmkd.compat` in place, which acts when somebody else imports them.
"""

from mmkd import compat as _compat
from mmkd.version import __version__

__all__ = ['__version__', 'compat_state']

compat_state = _compat.state

_compat.install()
