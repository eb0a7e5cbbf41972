"""How far a long piece of work is: a bar on a terminal, a plain line now and then elsewhere, both on stderr."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_SECONDS_BETWEEN_LINES = 15.0


class ProgressDisplay:
    """Called as ``display(label, done, total)``; a total of 0 means that it is not known."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.on_terminal = sys.stderr.isatty()
        self._bar: tqdm | None = None
        self._label = ""
        self._last_line = time.monotonic()

    def __call__(self, label: str, done: int, total: int) -> None:
        if self.quiet:
            return
        if self.on_terminal:
            self._draw(label, done, total)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{label}: {done:,} of {total:,}" if total else f"{label}: {done:,}", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Show what was just finished of a piece of work that has no known end: beside a running count, or as a line of its own."""
        if self.quiet:
            return
        if not self.on_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        if self._bar is None or self._bar.total is not None:
            self.close()
            self._bar = tqdm(file=sys.stderr, unit=" results", bar_format="{n_fmt} results in {elapsed}  {desc}")
        self._bar.set_description_str(text, refresh=False)
        self._bar.update()

    def _draw(self, label: str, done: int, total: int) -> None:
        # A training epoch is a new label of the same bar: the total stays.
        if self._bar is None or (self._bar.total or 0) != total or done < self._bar.n:
            self.close()
            self._bar = tqdm(total=total or None, desc=label, unit_scale=True, file=sys.stderr, mininterval=0.2)
        if label != self._label:
            self._bar.set_description(label, refresh=False)
            self._label = label
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress(*, quiet: bool) -> Iterator[ProgressDisplay]:
    """Yield a display; log lines appear above its bar."""
    display = ProgressDisplay(quiet=quiet)
    with logging_redirect_tqdm(loggers=[logging.getLogger("molbt")]):
        try:
            yield display
        finally:
            display.close()
