"""The label buttons: one conversation at a time, in a notebook or without a browser.

`Annotator` shows rows and hands what is clicked to a `LabelStore` (`labelling.py`). It
keeps no labels of its own, and knows nothing about agreement or training. Only widgets
of ipywidgets itself are used, so it needs no extension in JupyterLab, VS Code or Colab.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import ipywidgets as widgets
import pandas as pd

from lrkit.data.labelling import LabelStore

QUESTION = (
    "Is the customer saying that all of their technical problems have been resolved?"
)
SPEAKERS = ("Customer", "Support Agent")


class Annotator:
    """Labels conversations by button and appends every click to a store.

    `rows`: a list of dicts or a DataFrame with `id` (unique; kept as text) and
    `running_message` (text, a turn a line, "Speaker: ..."). Other columns stay hidden.
    `store`: where the labels go; others' labels of these rows may be in the same file.
    `labels`: one button each. `with_reason`: whether there is a field for a reason.
    `blind`: hide what others have said of a row, so that the labels are independent.
    `speakers`: the names that are shown bold at the beginning of a line.

    It opens at the first row that `annotator` has not labelled. Skip leaves a row for
    later: the rows come round again until all are labelled.

    Raises ValueError for rows without these columns, repeated ids, fewer than two
    labels, and for a file with an id or a label that is not among these.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, object]] | pd.DataFrame,
        store: LabelStore,
        labels: Sequence[str] = ("yes", "no"),
        question: str = QUESTION,
        annotator: str = "me",
        with_reason: bool = True,
        blind: bool = True,
        speakers: Sequence[str] = SPEAKERS,
    ) -> None:
        self.messages = _messages(rows)
        if len(labels) < 2 or len(set(labels)) < len(labels) or "" in labels:
            raise ValueError(f"labels is {labels!r}, expected two or more that differ.")
        self.annotator = annotator
        self.blind = blind
        self.speakers = tuple(speakers)
        # the same file, read by the rules of this task
        self.store = LabelStore(store.path, labels, self.messages)
        self.current: str | None = None
        self._error: Exception | None = None

        # One neutral look for all labels: a colour would nudge towards one of them.
        self.buttons = {label: _button(label) for label in labels}
        self.undo_button = _button("Undo", icon="undo")
        self.skip_button = _button("Skip", icon="forward")
        # Its text is sent when the field is left, and a click on a button leaves it.
        # Sent letter by letter, the last letters could arrive after the click.
        self.reason = widgets.Text(
            placeholder="Reason, in a few words (may stay empty)",
            continuous_update=False,
            layout=widgets.Layout(width="auto"),
        )
        self.progress = widgets.HTML()
        self.transcript = widgets.HTML()
        self.status = widgets.HTML()
        self.widget = widgets.VBox(
            [
                self.progress,
                self.transcript,
                widgets.HTML(f"<b>{escape(question)}</b>"),
                *([self.reason] if with_reason else []),
                _row(*self.buttons.values()),
                _row(self.undo_button, self.skip_button, margin="10px 0 0 0"),
                self.status,
            ],
            layout=widgets.Layout(max_width="48em", padding="4px"),
        )
        for button in self.buttons.values():
            button.on_click(lambda clicked: self._act(self._label, clicked.description))
        self.undo_button.on_click(lambda _: self._act(self._undo))
        self.skip_button.on_click(lambda _: self._act(self._skip))
        self._go_to_next(after=None)
        self._draw()

    def show(self) -> widgets.VBox:
        """The widget; as the last line of a cell it appears under it."""
        return self.widget

    def replay(self, answers: Iterable[tuple[str, str] | str]) -> pd.DataFrame:
        """Click through `answers` without a browser, by the buttons themselves.

        An answer is a pair (label, reason), "skip" or "undo". Returns this annotator's
        labels, as `LabelStore.labels`. Raises ValueError at the first answer that is
        none of these or that the widget refuses; those before it are kept.
        """
        for number, answer in enumerate(answers, start=1):
            where = f"Answer {number} of the replay"
            if answer == "skip":
                button = self.skip_button
            elif answer == "undo":
                button = self.undo_button
            elif isinstance(answer, str) or [*map(type, answer)] != [str, str]:
                raise ValueError(
                    f"{where} is {answer!r}, expected two texts (label, reason), "
                    "'skip' or 'undo'."
                )
            elif answer[0] not in self.buttons:
                raise ValueError(
                    f"{where}: there is no button {answer[0]!r}, only "
                    f"{', '.join(map(repr, self.buttons))}."
                )
            else:
                button, self.reason.value = self.buttons[answer[0]], answer[1]
            button.click()
            if self._error is not None:
                raise ValueError(f"{where}: {self._error}") from self._error
        return self.store.labels(self.annotator)

    def _act(self, action: Callable[..., str], *arguments: str) -> None:
        """Do what a button asks for and say in the status line what was done.

        ipywidgets swallows the exceptions of a click. A refusal is therefore shown in
        the status line too, and kept for `replay` to raise.
        """
        self._error = None
        try:
            said = action(*arguments)
            self._draw()
        except (OSError, ValueError) as error:
            self._error = error
            said = f"<b>Refused.</b> {escape(str(error))}"
        self.status.value = said

    def _label(self, label: str) -> str:
        labelled = self._shown()
        self.store.add(labelled, label, self.reason.value.strip(), self.annotator)
        self.reason.value = ""
        self._go_to_next(after=labelled)
        return f"Saved: {escape(labelled)} is <b>{escape(label)}</b>."

    def _skip(self) -> str:
        skipped = self._shown()
        self.reason.value = ""
        self._go_to_next(after=skipped)
        return f"Skipped {escape(skipped)}; it comes again at the end."

    def _undo(self) -> str:
        undone = self.store.undo(self.annotator)
        self.current = undone["id"]
        # put back into the field: to be amended rather than typed again
        self.reason.value = undone["reason"]
        return f"Undone: {escape(undone['id'])} was <b>{escape(undone['label'])}</b>."

    def _shown(self) -> str:
        if self.current is None:
            raise ValueError("All rows are labelled; Undo takes the last label back.")
        return self.current

    def _go_to_next(self, after: str | None) -> None:
        """Show the next row without a label of ours, going round from the end."""
        ids = list(self.messages)
        start = 0 if after is None else ids.index(after) + 1
        done = set(self.store.labels(self.annotator)["id"])
        waiting = (row_id for row_id in ids[start:] + ids[:start] if row_id not in done)
        self.current = next(waiting, None)

    def _draw(self) -> None:
        labels = self.store.labels()
        total, done = len(self.messages), sum(labels["annotator"] == self.annotator)
        if self.current is None:
            place = f"All {total} labelled"
            shown = "Nothing is left to label. Thank you."
        else:
            number = list(self.messages).index(self.current) + 1
            place = f"<b>{number} of {total}</b> · {done} labelled"
            shown = _turns(self.messages[self.current], self.speakers)
            if not self.blind:
                shown += _said_by_others(labels, self.current, self.annotator)
        self.progress.value = (
            f"<div>{place} by {escape(self.annotator)}</div>"
            '<div style="background: var(--jp-border-color2, #ddd)"><div style="'
            f"height: 4px; width: {done / total:.1%}; "
            'background: var(--jp-brand-color1, #1976d2)"></div></div>'
        )
        # A least height, so that short rows do not move the buttons about, but no
        # greatest: the end decides, and in a box that scrolls it could go unseen.
        self.transcript.value = (
            '<div style="border: 1px solid var(--jp-border-color1, #bbb); '
            "border-radius: 4px; padding: 8px 12px; line-height: 1.5; "
            f'min-height: 12em">{shown}</div>'
        )
        for control in (*self.buttons.values(), self.skip_button, self.reason):
            control.disabled = self.current is None
        self.undo_button.disabled = done == 0


def _button(text: str, icon: str = "") -> widgets.Button:
    layout = widgets.Layout(width="auto", min_width="7em", margin="2px 4px")
    return widgets.Button(description=text, icon=icon, layout=layout)


def _row(*buttons: widgets.Button, margin: str = "0") -> widgets.HBox:
    return widgets.HBox(
        buttons,
        layout=widgets.Layout(flex_flow="row wrap", margin=margin, overflow="visible"),
    )


def _turns(message: str, speakers: Sequence[str]) -> str:
    """The transcript as HTML: everything escaped, the speakers' names bold."""
    html = []
    for line in message.splitlines():
        name = next((f"{s}:" for s in speakers if line.startswith(f"{s}:")), "")
        html.append(
            f'<div style="white-space: pre-wrap"><b>{escape(name)}</b>'
            f"{escape(line.removeprefix(name))}</div>"
        )
    return "".join(html)


def _said_by_others(labels: pd.DataFrame, row_id: str, annotator: str) -> str:
    here = labels[(labels["id"] == row_id) & (labels["annotator"] != annotator)]
    return "".join(
        f"<div><i>{escape(other.annotator)}: {escape(other.label)}</i> "
        f"{escape(other.reason)}</div>"
        for other in here.itertuples()
    )


def _messages(rows: Sequence[Mapping[str, object]] | pd.DataFrame) -> dict[str, str]:
    """Transcript by id, in the order of the rows."""
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    messages: dict[str, str] = {}
    for number, row in enumerate(records, start=1):
        missing = [column for column in ("id", "running_message") if column not in row]
        if missing:
            raise ValueError(f"Row {number} has no {' and no '.join(missing)}.")
        row_id, message = str(row["id"]), row["running_message"]
        if not isinstance(message, str):
            raise ValueError(
                f"Row {number} (id {row_id!r}): running_message is {message!r}, "
                "expected text."
            )
        if row_id in messages:
            raise ValueError(f"Row {number}: the id {row_id!r} occurs twice.")
        messages[row_id] = message
    if not messages:
        raise ValueError("There are no rows to label.")
    return messages
