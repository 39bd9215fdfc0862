"""The part of every key map that concerns the base: its tables of words, and the rest.

The authors put rows of their own tokens behind the base's table. In our core these are
rows of the model beside the base, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lrkit.latent.released.key_map import Part, Rule
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotModel

NO_SLOT_ROW = (
    r"rows\.weight",
    "the row of <slot> is never looked up: what stands in a slot is computed",
)
UNREAD = "output rows of added tokens: they are never written here"
# What blocks of older libraries saved beside their weights.
BUFFERS = (
    (r".+\.attn\.(masked_)?bias", "the causal mask that older GPT-2 code saved"),
    (r".+\.rotary_emb\.inv_freq", "frequencies that older Llama code saved"),
)


class BaseMap(NamedTuple):
    """The part of a key map that concerns the base.

    Attributes:
        rules: its tables, then all else.
        twins: see `lrkit.latent.released.key_map.KeyMap`.
        table: the name of its table of inputs in the file.
    """

    rules: tuple[Rule, ...]
    twins: tuple[tuple[str, str], ...]
    table: str


def base_map(
    model: SlotModel,
    theirs: str,
    added: Sequence[Part] = (),
    added_out: Sequence[Part] = (),
) -> BaseMap:
    """For a base whose names are ours behind another prefix.

    Args:
        model: with the base that is to be filled.
        theirs: the prefix in the file, in place of our "base.".
        added: of the table of inputs, the rows behind the vocabulary.
        added_out: the same of the output layer, where it is not tied.
    """
    base, vocabulary = model.base, model.first_special
    layers = base.get_input_embeddings(), base.get_output_embeddings()
    names = {id(module): name for name, module in base.named_modules()}
    table, head = (f"{names[id(layer)]}.weight" for layer in layers)

    def rule(name: str, further: Sequence[Part]) -> Rule:
        own = Part(f"base.{name}", (0, vocabulary))
        return Rule(re.escape(theirs + name), (own, *further))

    rules = [rule(table, added)]
    twins: tuple[tuple[str, str], ...] = ()
    if layers[0].weight is layers[1].weight:
        twins = ((theirs + table, theirs + head),)
    else:
        rules.append(rule(head, added_out))
    rest = Rule(re.escape(theirs) + "(.+)", (Part(r"base.\1"),))
    return BaseMap((*rules, rest), twins, theirs + table)


def slot_specials(*names: str) -> list[str]:
    """Specials with the names of the file's added rows in their order, and a slot."""
    return [*names, *([] if SLOT in names else [SLOT])]
