"""Laws of the label ids: which tokens count as which label, and what is read with them.

The ids that the source lists for Mistral-7B appear here only as the expected result.
"""

import itertools

import pytest
import torch

from lrkit.answer.label_ids import LabelCollision, LabelIds, surface_variants
from lrkit.answer.prompts import encode_inner

LABEL_SETS = [
    ["yes", "no"],
    ["billing", "technical", "general"],
    ["positive", "negative"],
    ["True", "False"],
    [str(digit) for digit in range(10)],
    ["resolved", "open", "partly resolved"],
    ["crème brûlée", "Überweisung", "日本"],
    ["日本", "yes"],
]


@pytest.fixture(params=LABEL_SETS, ids=lambda labels: labels[0])
def labels(request):
    return request.param


def test_every_id_of_the_source_is_found_for_mistral(mistral):
    ids = LabelIds(mistral, ["yes", "no"]).ids
    assert {9780, 5081, 5592, 5613} <= set(ids["yes"])
    assert {708, 1510, 1770, 4032, 2501, 7929} <= set(ids["no"])
    texts = LabelIds(mistral, ["yes", "no"]).texts
    spelled = {text.strip("▁").lower() for text in texts.values()}
    assert spelled <= {"yes", "no", "ye", "y"}, "no other word counts as an answer"


def test_ids_are_disjoint_sorted_and_without_repetition(tokenizer, labels):
    ids = LabelIds(tokenizer, labels).ids
    assert list(ids) == labels
    everything = list(itertools.chain(*ids.values()))
    assert len(everything) == len(set(everything)) and all(ids.values())
    assert all(row == sorted(row) for row in ids.values())


def test_the_token_that_an_answer_begins_with_counts(tokenizer, labels):
    ids = LabelIds(tokenizer, labels).ids
    for label in labels:
        assert encode_inner(tokenizer, label)[0] in ids[label]


def test_an_id_belongs_to_the_label_that_its_text_begins(tokenizer, labels):
    label_ids = LabelIds(tokenizer, labels)
    for label, ids in label_ids.ids.items():
        for i in ids:
            text = tokenizer.decode([i]).strip()
            assert text, "a bare space or newline means nothing"
            beginning = text.strip("\ufffd").lower()  # a part of a character
            assert label.lower().startswith(beginning), (label, i, text)


def test_every_spelling_that_is_one_token_counts(tokenizer):
    ids = LabelIds(tokenizer, ["yes", "no"]).ids
    for label in ("yes", "no"):
        for variant in surface_variants(label):
            pieces = encode_inner(tokenizer, variant)
            if len(pieces) == 1:
                assert pieces[0] in ids[label], repr(variant)


def test_the_order_of_labels_changes_only_the_order_of_columns(tokenizer):
    labels = ["billing", "technical", "general"]
    logits = torch.randn(5, len(tokenizer), generator=torch.manual_seed(0))
    first = LabelIds(tokenizer, labels)
    proba, mass = first.probabilities(logits)
    for order in itertools.permutations(range(3)):
        other = LabelIds(tokenizer, [labels[i] for i in order])
        assert other.ids == first.ids
        proba_other, mass_other = other.probabilities(logits)
        torch.testing.assert_close(proba_other, proba[:, list(order)])
        torch.testing.assert_close(mass_other, mass)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
def test_probabilities_are_shares_of_a_softmax_over_the_vocabulary(
    tokenizer, labels, scale
):
    label_ids = LabelIds(tokenizer, labels)
    logits = scale * torch.randn(7, len(tokenizer), generator=torch.manual_seed(1))
    proba, mass = label_ids.probabilities(logits)
    assert proba.shape == (7, len(labels)) and mass.shape == (7,)
    torch.testing.assert_close(proba.sum(1), torch.ones(7))
    assert (mass <= 1 + 1e-6).all() and (mass >= 0).all()
    for row in range(7):
        softmax = logits[row].double().softmax(0)
        sums = torch.stack([softmax[label_ids.ids[label]].sum() for label in labels])
        assert mass[row].item() == pytest.approx(sums.sum().item(), rel=1e-4, abs=1e-30)
        if sums.sum() > 1e-30:
            expected = (sums / sums.sum()).float()
            torch.testing.assert_close(proba[row], expected, rtol=1e-3, atol=1e-6)


def test_a_shift_of_all_logits_and_a_low_precision_change_nothing(chatml):
    label_ids = LabelIds(chatml, ["yes", "no"])
    logits = torch.randn(3, len(chatml), generator=torch.manual_seed(2)).bfloat16()
    proba, mass = label_ids.probabilities(logits)
    assert proba.dtype == mass.dtype == torch.float32
    shifted, same_mass = label_ids.probabilities(logits.float() + 500)
    torch.testing.assert_close(shifted, proba, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(same_mass, mass, rtol=1e-4, atol=1e-4)


def test_all_of_the_mass_on_one_spelling_makes_its_label_certain(tokenizer, labels):
    label_ids = LabelIds(tokenizer, labels)
    for column, label in enumerate(labels):
        for i in label_ids.ids[label]:
            logits = torch.full((1, len(tokenizer)), -100.0)
            logits[0, i] = 100.0
            proba, mass = label_ids.probabilities(logits)
            assert proba[0, column] == 1 and mass[0] == pytest.approx(1)


# --- labels that one token cannot tell apart ------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ["yes", "Yes"],
        ["NO", "no"],
        ["not resolved yet", "not a problem"],
        ["no, not yet", "no"],
        ["yes", "no", "no idea"],
    ],
    ids=lambda labels: " | ".join(labels[-2:]),
)
def test_labels_that_begin_alike_are_refused_by_name(tokenizer, labels):
    for order in (labels, labels[::-1]):
        with pytest.raises(LabelCollision) as refusal:
            LabelIds(tokenizer, order)
        assert repr(labels[-1]) in str(refusal.value)
        assert repr(labels[-2]) in str(refusal.value)
        assert "rename one of them" in str(refusal.value)


def stub(vocabulary):
    """A stand-in tokenizer that takes the longest piece of `vocabulary` it can."""

    class Stub:
        pieces = sorted(["\n", " ", *vocabulary], key=len, reverse=True)

        def __call__(self, text, **_):
            ids = []
            while text:
                at = next(i for i, p in enumerate(self.pieces) if text.startswith(p))
                ids.append(at)
                text = text.removeprefix(self.pieces[at])
            return {"input_ids": ids}

        def decode(self, ids):
            return "".join(self.pieces[i] for i in ids)

        def convert_ids_to_tokens(self, i):
            return self.pieces[i]

    return Stub()


LETTERS = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]


def test_a_longer_word_that_is_one_token_only_behind_a_space_still_collides():
    """Trained answers are "no" and "no"+"ne": the token " none" is no way out."""
    with pytest.raises(LabelCollision, match="'no' and 'none'"):
        LabelIds(stub([*LETTERS, "no", "ne", " none"]), ["no", "none"])


def test_a_longer_word_with_a_token_of_its_own_does_not_collide():
    tokenizer = stub([*LETTERS, "no", "none"])
    label_ids = LabelIds(tokenizer, ["no", "none"])
    texts = {k: {label_ids.texts[i] for i in v} for k, v in label_ids.ids.items()}
    # "No" and "None" both begin with N, "NO" and "NONE" too: N decides nothing.
    assert texts == {"no": {"no"}, "none": {"none"}}


def test_spellings_that_only_might_mean_two_labels_mean_neither():
    tokenizer = stub([*LETTERS, "bill", "ing", "bo", "ss"])
    label_ids = LabelIds(tokenizer, ["billing", "boss"])
    texts = {k: {label_ids.texts[i] for i in v} for k, v in label_ids.ids.items()}
    assert texts == {"billing": {"bill"}, "boss": {"bo"}}


def test_long_labels_are_read_by_first_tokens_that_differ():
    tokenizer = stub([*LETTERS, "re", "solved", " by"])
    label_ids = LabelIds(tokenizer, ["resolved by us", "open"])
    texts = {k: {label_ids.texts[i] for i in v} for k, v in label_ids.ids.items()}
    assert texts == {"resolved by us": {"re", "R"}, "open": {"o", "O"}}


@pytest.mark.parametrize(
    "labels", [[], ["yes"], ["yes", "yes"], ["yes", " "], ["", "no"]]
)
def test_sets_that_are_no_labels_are_refused(chatml, labels):
    with pytest.raises(ValueError, match=r"two or more different|must be a word"):
        LabelIds(chatml, labels)
