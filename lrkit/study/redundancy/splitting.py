"""A chain of thought as its steps, and the text of some of them.

Splitting loses nothing: all steps in their order give the text back, whatever it was.
Three manners of writing are told apart. *Terse*: results in brackets, then equations,
as `lrkit.data.chains` and the bases write them. *Verbose*: the sentences of
`lrkit.data.chains.verbose`, of which some are two by their full stops. *Free*: anything
else, see `free` for where it is cut and where that goes wrong.

The paper does not say how it cuts chains into steps: these rules are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from lrkit.data.chains import NECESSARY, REDUNDANT

# Words whose full stop ends no sentence, in lower case.
ABBREVIATIONS = frozenset(
    (
        "approx", "ca", "cf", "dr", "e.g", "eq", "eqs", "etc", "fig", "i.e", "jr", "mr",
        "mrs", "ms", "no", "nos", "p", "pp", "prof", "resp", "sec", "sr", "st", "vs",
    )
)  # fmt: skip
DISPLAY = re.compile(r"\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
LINE_END = re.compile(r"\s*\n\s*")
SENTENCE_END = re.compile(r"""[.!?]+["')\]*]*(\s+)(?=[^\sa-z])""")
ITEM = re.compile(r"[\s*(-]*(\d+|[a-zA-Z])")
RESULTS_FIRST = re.compile(r"(?:\( ([^()<>]+) \))?(.*)", re.DOTALL)
EQUATION = re.compile(r"<<[^<>]+>>")
Span = tuple[int, int]


@dataclass(frozen=True)
class Steps:
    """A chain in steps.

    Attributes:
        texts: the steps, none of them empty.
        gaps: what stands before each of them, and behind the last one.
    """

    texts: tuple[str, ...]
    gaps: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, kept: Sequence[int]) -> str:
        """The chain of some steps in the order given; "" for none.

        A step brings the gap before it along; the first one stands where the chain
        began, and what followed the chain follows it still.
        """
        if not kept:
            return ""
        first, *others = kept
        said = [self.gaps[0], self.texts[first]]
        for i in others:
            said += [self.gaps[max(i, 1)], self.texts[i]]
        return "".join([*said, self.gaps[-1]])


@dataclass(frozen=True)
class TerseSteps(Steps):
    """Results in brackets, then equations: "( 2 6 )<<6+1=7>>".

    Attributes:
        n_results: how many of the steps are results alone.
    """

    n_results: int = 0

    def text(self, kept: Sequence[int]) -> str:
        """The results that are kept in one pair of brackets, then the equations."""
        results = [self.texts[i] for i in kept if i < self.n_results]
        equations = [self.texts[i] for i in kept if i >= self.n_results]
        said = f"( {' '.join(results)} )" if results else ""
        return said + (" ".join(equations) + self.gaps[-1] if equations else "")


def free(text: str) -> Steps:
    """Any text: a step ends with its line, or with its sentence.

    A sentence ends at ".", "!" or "?" before blank space, unless a small letter
    follows. No end: a decimal point, the stop of a known abbreviation, and that of the
    number or letter that an item of a list begins with ("2. Add"). Nothing is cut
    inside a displayed equation of LaTeX.

    What it gets wrong: text whose lines were broken at a width, and initials
    ("J. Smith"), which are cut; an abbreviation that ends its sentence ("apples etc.
    Then ...") and a sentence that begins with a small letter, which stay with what is
    before them.
    """
    return _cut(text, _ends(text))


def terse(text: str) -> Steps:
    """Results in brackets and equations, one step each; any other text as `free`."""
    results, rest = RESULTS_FIRST.fullmatch(text).groups()
    results = results.split(" ") if results else []
    texts = (*results, *EQUATION.findall(rest))
    gaps = ("",) * len(texts) + (text[len(text.rstrip()) :],)
    steps = TerseSteps(texts, gaps, len(results))
    return steps if steps.text(range(len(steps))) == text else free(text)


def verbose(text: str) -> Steps:
    """The sentences of `lrkit.data.chains.verbose`; what is none of them as `free`."""
    known = [found.span() for found in _forms().finditer(text)]
    return _cut(text, _outside(_ends(text), known))


def _cut(text: str, gaps: Sequence[Span]) -> Steps:
    """The steps between gaps, which are in order and do not overlap."""
    begin, stop = len(text) - len(text.lstrip()), len(text.rstrip())
    if begin >= stop:
        return Steps((), (text,))
    texts, found = [], [text[:begin]]
    for start, end in gaps:
        if begin < start and end < stop:
            texts.append(text[begin:start])
            found.append(text[start:end])
            begin = end
    return Steps((*texts, text[begin:stop]), (*found, text[stop:]))


def _outside(spans: Sequence[Span], whole: Sequence[Span]) -> list[Span]:
    """The spans that do not begin inside one of the others."""
    return [s for s in spans if not any(a < s[0] < b for a, b in whole)]


def _ends(text: str) -> list[Span]:
    """The blank space behind each line and each sentence, in order."""
    ends = [found.span() for found in LINE_END.finditer(text)]
    for found in SENTENCE_END.finditer(text):
        if "\n" not in found[1] and not _stop_inside(text, found):
            ends.append(found.span(1))
    return _outside(sorted(ends), [found.span() for found in DISPLAY.finditer(text)])


def _stop_inside(text: str, found: re.Match) -> bool:
    """Whether a full stop belongs to an abbreviation or to an item's number."""
    if not re.fullmatch(r"\.\s+", found[0]):
        return False
    line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
    word = re.split(r"[\s(\[]", line)[-1]
    return bool(ITEM.fullmatch(line)) or word.lower() in ABBREVIATIONS


@cache
def _forms() -> re.Pattern[str]:
    """Any sentence of a verbose chain."""
    forms = [*NECESSARY, *(form for bank in REDUNDANT.values() for form in bank)]
    holes = {"{left}": r"[^\s<>]+", "{step}": r"<<[^<>]+>>", "{value}": r"[^\s<>]+"}
    patterns = []
    for pattern in map(re.escape, forms):
        for hole, what in holes.items():
            pattern = pattern.replace(re.escape(hole), what)
        patterns.append(pattern)
    return re.compile("|".join(patterns))


SPLITTERS: dict[str, Callable[[str], Steps]] = {
    "terse": terse,
    "verbose": verbose,
    "free": free,
}
