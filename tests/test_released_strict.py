"""Laws of the strict loader: whatever does not fit is an error, and then nothing is
written."""

import re

import pytest
import torch
from torch import nn

from lrkit.latent.released.key_map import KeyMap, Part, Rule, renamed
from lrkit.latent.released.strict import load_mapped


class Ours(nn.Module):
    """A table of 5 words, 3 rows beside it, a map, and a tied output layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.rows = nn.Embedding(3, 4)
        self.map = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight


SLOT = (r"rows\.weight", "a row that is computed")
KEYS = KeyMap(
    "a test",
    rules=(
        Rule("wte", (Part("table.weight", (0, 5)), Part("rows.weight", (5, 7)))),
        renamed(r"prj\.(weight|bias)", r"map.\1"),
    ),
    twins=(("wte", "head"), ("wte", "again")),
    left=((r"decoder\..+", "for training only"),),
    fresh=(SLOT,),
)


def theirs():
    torch.manual_seed(3)
    table = torch.randn(7, 4)
    return {
        "wte": table,
        "head": table.clone(),
        "prj.weight": torch.randn(4, 4),
        "prj.bias": torch.randn(4),
        "decoder.x": torch.randn(2),
    }


def test_every_number_arrives_where_it_belongs_and_is_counted():
    model, tensors = Ours(), theirs()
    slot = model.rows.weight[2].clone()
    report = load_mapped(model, tensors, KEYS)
    assert torch.equal(model.head.weight, tensors["wte"][:5])
    assert torch.equal(model.rows.weight[:2], tensors["wte"][5:])
    assert torch.equal(model.rows.weight[2], slot)
    assert torch.equal(model.map.weight, tensors["prj.weight"])
    assert (report.tensors, report.used, report.twins) == (5, 3, 1)
    assert dict(report.left) == {"for training only": 1}
    assert (report.weights, report.filled) == (5, 4)  # the tied table is two of them
    assert dict(report.fresh) == {SLOT[1]: 1}
    assert report.values == 28 + 16 + 4
    assert "5 tensors, 3 used, 1 tied copies, 1 left over" in str(report)


@pytest.mark.parametrize("present", ["wte", "head", "again"])
def test_a_tied_table_may_be_there_under_any_one_of_its_names(present):
    model, tensors = Ours(), theirs()
    table = tensors.pop("wte")
    del tensors["head"]
    report = load_mapped(model, tensors | {present: table}, KEYS)
    assert torch.equal(model.table.weight, table[:5])
    assert report.twins == 0


def broken(change):
    tensors = theirs()
    change(tensors)
    return tensors


WRONG = {
    "a missing tensor": (
        lambda t: t.pop("prj.bias"),
        "nothing in the file fills 4 rows of map.bias [4]",
    ),
    "a missing table": (
        lambda t: [t.pop("wte"), t.pop("head")],
        "nothing in the file fills 5 rows of table.weight [5, 4]",
    ),
    "an extra tensor": (
        lambda t: t.update(prj2=torch.zeros(2)),
        "prj2 [2] is not known to the map",
    ),
    "a renamed tensor": (
        lambda t: t.update({"projection.bias": t.pop("prj.bias")}),
        "projection.bias [4] is not known to the map",
    ),
    "a wrong shape": (
        lambda t: t.update({"prj.weight": torch.zeros(4, 5)}),
        "prj.weight is [4, 5], and its place in map.weight [4, 4]",
    ),
    "a table that is too narrow": (
        lambda t: t.update(wte=torch.zeros(7, 3), head=torch.zeros(7, 3)),
        "wte is [5, 3], and its place in table.weight [5, 4]",
    ),
    "a row too few": (
        lambda t: t.update(wte=t["wte"][:6], head=t["head"][:6]),
        "wte [6, 4] has no rows 5 to 7",
    ),
    "a row too many": (
        lambda t: t.update(wte=torch.zeros(8, 4), head=torch.zeros(8, 4)),
        "the map takes 1 of its rows never or more than once",
    ),
    "a copy that is none": (
        lambda t: t["head"].add_(1),
        "head should be a copy of wte and is not",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_named_and_nothing_is_written(what):
    change, said = WRONG[what]
    model = Ours()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(said)):
        load_mapped(model, broken(change), KEYS)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_weight_is_not_written_twice_nor_left_without_a_reason():
    twice = KeyMap("a test", (*KEYS.rules, renamed("more", "map.bias")), KEYS.twins,
                   KEYS.left, KEYS.fresh)  # fmt: skip
    with pytest.raises(ValueError, match=r"a second time into map\.bias"):
        load_mapped(Ours(), theirs() | {"more": torch.zeros(4)}, twice)
    unsaid = KeyMap("a test", KEYS.rules, KEYS.twins, KEYS.left)
    with pytest.raises(ValueError, match=r"fills 1 rows of rows\.weight"):
        load_mapped(Ours(), theirs(), unsaid)
    with pytest.raises(ValueError, match="need a reason"):
        Part("", (0, 1))


def test_all_that_is_wrong_is_counted():
    with pytest.raises(ValueError, match=r"not known to the map.*; and 4 more\."):
        load_mapped(Ours(), theirs() | {f"x{k}": torch.zeros(1) for k in range(12)},
                    KEYS)  # fmt: skip
