"""The pace of a long run: a column of its bar, or a line now and then where no terminal is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich import progress as bars
from rich.text import Text

EVERY = 60.0  # seconds between two lines


class PaceColumn(bars.ProgressColumn):
    """A column with the photos (or steps) a second and the time left, or taken once finished.

    The rate is the mean since the start of this run. A rate over a short while would jump, because
    photos that are worked on at the same time also end at the same time.
    """

    def render(self, task: bars.Task) -> Text:
        """Return text such as ``1.04/s 0:03:47``; steps of earlier runs do not count.

        Without a known total there is no time left to show.
        """
        state = task.fields
        first = state.setdefault("first", task.completed)
        if task.completed != state.setdefault("seen", first):
            state["seen"], state["took"] = task.completed, task.elapsed
        if not state.get("took"):
            return Text("")
        pace = (state["seen"] - first) / state["took"]
        if task.remaining is None:
            return Text(f"{pace:.2f}/s")
        seconds = round(state["took"] if task.finished else task.remaining / pace)
        return Text(f"{pace:.2f}/s {timedelta(seconds=seconds)}")


class LineProgress(bars.Progress):
    """A progress display for logs: a line every minute, such as ``batch: 120 of 2000, 1.04/s``.

    A task may have a field ``failed``, the number of steps that failed. A run of less than a minute
    has no line.
    """

    def __init__(self, say: Callable[[str], None], **settings: Any) -> None:
        super().__init__(disable=True, **settings)
        self.say = say
        self.pace = PaceColumn()
        self.told = self.get_time()

    def add_task(self, *arguments: Any, **settings: Any) -> bars.TaskID:
        """Begin a task; the steps that it has completed already do not count for its pace."""
        task = super().add_task(*arguments, **settings)
        self.pace.render(self._tasks[task])
        return task

    def advance(self, task_id: bars.TaskID, advance: float = 1) -> None:
        """Advance a task, and perhaps print a line about it."""
        super().advance(task_id, advance)
        self._tell(self._tasks[task_id])

    def update(self, task_id: bars.TaskID, *arguments: Any, **settings: Any) -> None:
        """Update a task, and perhaps print a line about it."""
        super().update(task_id, *arguments, **settings)
        self._tell(self._tasks[task_id])

    def _tell(self, task: bars.Task) -> None:
        pace = self.pace.render(task)
        if self.get_time() - self.told < EVERY:
            return
        self.told = self.get_time()
        total = "" if task.total is None else f" of {task.total:.0f}"
        failed = f"{task.fields['failed']} failed" if task.fields.get("failed") else ""
        left = f"{pace} left" if task.remaining and pace else str(pace)
        parts = (f"{task.description}: {task.completed:.0f}{total}", failed, left)
        self.say(", ".join(filter(None, parts)))
