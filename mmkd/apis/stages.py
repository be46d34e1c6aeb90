"""Runs a chain of commands with one progress line: where it is, and how long it will still take."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from mmkd.errors import MMKDError

# mmengine's log lines: "Epoch(train)  [2][ 30/100]", "Epoch(test)  [ 50/120]".
_TRAIN = re.compile(r'Epoch\(train\)\s+\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]')
_TEST = re.compile(r'Epoch\((?:val|test)\)\s+\[\s*(\d+)/(\d+)\]')
# Seconds between two progress lines where they cannot replace one another.
_QUIET_INTERVAL = 15


class Stage(NamedTuple):
    """One command of the chain.

    Attributes:
        title: What it does, for the progress line.
        command: The command and its arguments.
        seconds: How long it took on the machine where the chain was measured; the first estimate.
        epochs: Training epochs, if it trains: its log tells the place inside an epoch only.
    """

    title: str
    command: Sequence[str]
    seconds: float
    epochs: int = 1


def fraction_done(text: str, epochs: int) -> Optional[float]:
    """How far mmengine's log says that a command has come.

    Args:
        text: The log, or its end.
        epochs: Epochs that will be trained.

    Returns:
        A number in [0, 1], or None if the log does not tell.
    """
    found = _TRAIN.findall(text)
    if found:
        epoch, step, steps = map(int, found[-1])
        return min((epoch - 1 + step / steps) / epochs, 1.0)
    found = _TEST.findall(text)
    if found:
        step, steps = map(int, found[-1])
        return step / steps
    return None


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, ``7:05``."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


class StageChain:
    """Runs stages one after another.

    Args:
        stages: The commands.
        log_dir: Each command's output goes to a file in it.
        cwd: Where the commands run.
        stream: Where the progress line goes.
    """

    def __init__(self, stages: List[Stage], log_dir: Path, cwd: Path, stream=sys.stdout):
        self.stages = stages
        self.log_dir = log_dir
        self.cwd = cwd
        self.stream = stream
        self._live = stream.isatty()
        self._start = time.monotonic()
        self._spent = 0.0  # in finished stages
        self._planned = 0.0  # for finished stages

    def run(self) -> None:
        """Runs every stage.

        Raises:
            MMKDError: If a command fails; the message ends with the end of its log.
        """
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for index, stage in enumerate(self.stages):
            log = self.log_dir / f'{index + 1}_{stage.title.replace(" ", "_")}.log'
            begin = time.monotonic()
            with open(log, 'w') as file:
                process = subprocess.Popen(
                    stage.command, stdout=file, stderr=subprocess.STDOUT, cwd=self.cwd
                )
                try:
                    self._watch(index, process, log, begin)
                finally:
                    if process.poll() is None:
                        process.terminate()
                        process.wait()
            spent = time.monotonic() - begin
            self._spent += spent
            self._planned += stage.seconds
            if process.returncode != 0:
                tail = '\n'.join(log.read_text(errors='replace').splitlines()[-25:])
                raise MMKDError(
                    f'Stage {index + 1} ({stage.title}) failed with exit status '
                    f'{process.returncode}. The end of {log}:\n{tail}'
                )
            self._say(f'{self._head(index)} done in {clock(spent)}', final=True)

    def _watch(self, index: int, process: subprocess.Popen, log: Path, begin: float) -> None:
        last = 0.0
        while True:
            try:
                process.wait(timeout=1.0)
                return
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            if self._live or now - last >= _QUIET_INTERVAL:
                last = now
                self._say(self._progress(index, log, now - begin))

    def _progress(self, index: int, log: Path, elapsed: float) -> str:
        with open(log, 'rb') as file:
            file.seek(max(log.stat().st_size - 20000, 0))
            done = fraction_done(file.read().decode(errors='replace'), self.stages[index].epochs)
        left = self.remaining(index, elapsed, done)
        percent = '' if done is None else f' {done:4.0%}'
        total = clock(time.monotonic() - self._start)
        return f'{self._head(index)}{percent}, {total} so far, about {clock(left)} left'

    def remaining(self, index: int, elapsed: float, done: Optional[float]) -> float:
        """Seconds until the last stage ends.

        Args:
            index: The running stage.
            elapsed: Seconds it has run.
            done: Fraction of it that is done, if known.
        """
        pace = self._spent / self._planned if self._planned else 1.0
        if done:
            here = elapsed / done - elapsed
            # What a training step costs here says more of the later ones than drawing data does.
            pace = (self._spent + elapsed / done) / (self._planned + self.stages[index].seconds)
        else:
            here = max(self.stages[index].seconds * pace - elapsed, 0)
        return here + pace * sum(stage.seconds for stage in self.stages[index + 1 :])

    def _head(self, index: int) -> str:
        return f'[{index + 1}/{len(self.stages)}] {self.stages[index].title}'

    def _say(self, text: str, final: bool = False) -> None:
        if self._live:
            self.stream.write('\r\x1b[K' + text + ('\n' if final else ''))
        else:
            self.stream.write(text + '\n')
        self.stream.flush()
