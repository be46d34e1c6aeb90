"""Who builds which shard: any number of processes, on any number of machines, no conversation."""

from __future__ import annotations

import contextlib
import json
import os
import os.path as osp
import socket
import threading
import time
import uuid
from typing import Iterator, Optional

from .layout import claim_file

# A builder writes to its claim at every batch; nobody needs this long for one.
STALE_S = 600.0


class Claim:
    """A file that only one process can make.

    A claim of a process that was killed is taken over: at once if it ran on this machine, after
    ``stale_s`` without a sign of life if on another.

    Args:
        path: The cache's folder.
        shard: What is claimed.
        stale_s: Seconds.
    """

    def __init__(self, path: str, shard: int, stale_s: float = STALE_S):
        self.file = claim_file(path, shard)
        self.stale_s = stale_s
        self._mine = False

    def take(self) -> bool:
        """Whether the shard is this process's to build."""
        if self._make():
            return True
        if not self._is_stale():
            return False
        self._bury()
        return self._make()

    def sweep(self) -> None:
        """Removes what a process left that died between finishing and giving its claim back."""
        if osp.exists(self.file) and self._is_stale():
            self._bury()

    def _bury(self) -> None:
        # Of all that see a dead claim, one moves it away.
        grave = f'{self.file}.{uuid.uuid4().hex}'
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.file, grave)
            os.unlink(grave)

    def refresh(self) -> None:
        """A sign of life."""
        if self._mine:
            try:
                os.utime(self.file)
            except FileNotFoundError:
                # Taken over by somebody who thought this process dead. Both write the same shard.
                self._mine = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Gives signs of life by itself, for work that has no moment to give them."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self.stale_s / 10):
                self.refresh()

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def release(self) -> None:
        """Gives the shard up, built or not."""
        if self._mine:
            self._mine = False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file)

    def _make(self) -> bool:
        try:
            handle = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(handle, 'w') as file:
            json.dump({'host': socket.gethostname(), 'pid': os.getpid()}, file)
        self._mine = True
        return True

    def _is_stale(self) -> bool:
        try:
            age = time.time() - osp.getmtime(self.file)
            with open(self.file) as file:
                owner = json.load(file)
        except FileNotFoundError:
            return True
        except ValueError:
            # Made, and not written yet; or its writer died in between.
            return age > self.stale_s
        if owner.get('host') == socket.gethostname():
            return not _alive(owner.get('pid'))
        return age > self.stale_s


def _alive(pid: Optional[int]) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True
