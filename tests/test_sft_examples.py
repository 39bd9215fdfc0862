"""The examples of an arm: only the completion is supervised, shuffled reasons move."""

import pytest
from sft_runs import built_trainer, table

from lrkit.answer.arms import ARMS, build_examples, shuffled_reasons, to_dataset
from lrkit.answer.prompts import PromptBuilder
from lrkit.models import load_tokenizer

# --- what is supervised ---------------------------------------------------------------


def test_exactly_the_completion_is_supervised_in_the_trainers_own_batches(
    monkeypatch, settings, tmp_path
):
    trainer = built_trainer(monkeypatch, settings, tmp_path)
    builder = PromptBuilder(load_tokenizer(settings.base))
    expected = {}
    for e in build_examples(builder, table(), ARMS["label + reason"]):
        assert e.completion[-1] == builder.tokenizer.eos_token_id
        expected[tuple(e.prompt + e.completion)] = e.completion
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            row = ids[mask.bool()].tolist()
            completion = expected[tuple(row)]
            supervised = labels != -100
            assert supervised.sum() == len(completion)
            assert labels[supervised].tolist() == completion
            assert labels[mask.bool()][-len(completion) :].tolist() == completion
            seen += 1
    assert seen == len(table())


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_writes_what_its_name_says(chatml, name):
    arm, builder, rows = ARMS[name], PromptBuilder(chatml), table(48)
    examples = build_examples(builder, rows, arm, seed=1)
    texts = [chatml.decode(e.completion[:-1]) for e in examples]
    reasons = rows["reason"].tolist()
    for i, (e, text, label) in enumerate(
        zip(examples, texts, rows["label"], strict=True)
    ):
        assert e.prompt == builder.prompt(rows["running_message"][i])
        if arm.order == "label":
            assert text == label
        elif arm.order == "reason_label":
            assert text == f"{reasons[i]}, so in the end, {label}"
        else:
            written = text.removeprefix(f"{label}, because in the end, ")
            assert written in reasons and (written != reasons[i]) == arm.shuffled


def test_arms_with_labels_alone_need_no_reasons(chatml):
    rows = table().drop(columns="reason")
    assert len(build_examples(PromptBuilder(chatml), rows, ARMS["label only"])) == 12


def test_padding_with_the_end_token_hides_no_real_end(gpt2):
    """Where the padding is the end token (GPT-2), the written end is still learned."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    examples = build_examples(PromptBuilder(gpt2), table(), ARMS["label + reason"])
    collate = DataCollatorForLanguageModeling(pad_token_id=gpt2.eos_token_id)
    batch = collate(to_dataset(examples).to_list())
    for e, labels in zip(examples, batch["labels"], strict=True):
        assert labels[labels != -100].tolist() == e.completion


# --- shuffled reasons -----------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 18, 33, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffling_moves_every_reason_and_hardly_changes_lengths(n, seed):
    reasons = [str(i) for i in range(n)]
    lengths = [(i * 7919) % 97 for i in range(n)]
    shuffled = shuffled_reasons(reasons, lengths, seed)
    assert sorted(shuffled) == sorted(reasons), "each reason is used once"
    assert all(a != b for a, b in zip(reasons, shuffled, strict=True))
    assert shuffled == shuffled_reasons(reasons, lengths, seed)
    in_order = sorted(lengths)
    reach = max(
        in_order[min(i + 17, n) - 1] - in_order[i] for i in range(n)
    )  # the spread of lengths within one block
    got = [lengths[int(r)] for r in shuffled]
    assert all(abs(a - b) <= reach for a, b in zip(lengths, got, strict=True))


def test_shuffling_depends_on_the_seed_and_needs_two():
    reasons = [str(i) for i in range(50)]
    one, two = (shuffled_reasons(reasons, [1] * 50, seed) for seed in (0, 1))
    assert one != two
    with pytest.raises(ValueError, match="at least two"):
        shuffled_reasons(["one"], [1], 0)


def test_equal_reasons_still_change_places():
    """Nobody keeps his own by index, though the texts are the same."""
    assert shuffled_reasons(["same"] * 5, [4] * 5, 0) == ["same"] * 5
