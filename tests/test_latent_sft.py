"""Laws of encoder and decoder: who sees what, where gradient goes, what is trained."""

import copy

import pytest
import torch
from latent_models import problem, tiny_llama
from latent_sft_models import BASES, PROBLEMS, batch_of, stage_one, tiny_gpt2

from lrkit.latent.latent_sft import LatentSFTModel, written
from lrkit.latent.latent_sft_config import LatentSFTConfig
from lrkit.latent.latent_sft_rows import ThoughtCollator
from lrkit.latent.layout import IGNORED
from lrkit.latent.slots import mean_loss
from lrkit.latent.training import RunSettings, run, trainer_for

FULL = [p for p in PROBLEMS if p.steps]


@pytest.fixture(scope="module", params=BASES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def made(family, chatml):
    return stage_one(family, chatml)


def variant(model, **config):
    """The same weights under another configuration."""
    twin = copy.deepcopy(model)
    for name, value in config.items():
        assert hasattr(twin.config, name)
        setattr(twin.config, name, value)
    return twin


def by_hand(model, rows, problem):
    """Cross-entropy of every token that the decoder has to say of one problem, open: no
    mask, but a pass for each piece over question, latents so far and the piece."""
    row, embed = rows.row(problem), model.encoder.embed
    table = model.decoder.get_input_embeddings()
    latent = embed(torch.tensor([[model.latent_id]]))
    behind, text, losses = table(torch.tensor([list(row.question)])), [], []
    for k, said in enumerate([*row.pieces[1:], row.rest]):
        if row.pieces:
            text += row.pieces[k]
            read = embed(torch.tensor([[*row.question, *text]]))
            state = model.encoder.base(
                inputs_embeds=torch.cat([read, latent], 1), output_hidden_states=True
            ).hidden_states[-1][:, -1]
            behind = torch.cat([behind, model.mixture(state).embed(table)[:, None]], 1)
        written_so_far = table(torch.tensor([said[:-1]]).long())
        logits = model.decoder(inputs_embeds=torch.cat([behind, written_so_far], 1))
        logprobs = logits.logits[0, -len(said) :].log_softmax(-1)
        losses.append(-logprobs[range(len(said)), list(said)])
    return torch.cat(losses)


# --- what is computed -----------------------------------------------------------------
@torch.no_grad()
def test_open_the_loss_is_that_of_each_piece_behind_question_and_latents(made):
    """The decoder's text behind latent i, as the paper conditions it."""
    model, rows = made
    model = variant(model, supervision="open")
    tokens = [by_hand(model, rows, p) for p in PROBLEMS]
    out = model(**batch_of(model, rows, PROBLEMS))
    assert torch.allclose(out.loss, torch.cat(tokens).mean(), rtol=1e-3)


@torch.no_grad()
def test_strict_the_answer_is_said_as_when_open_and_a_piece_is_not(made):
    model, rows = made
    batch = batch_of(model, rows, [problem(4)])
    row = rows.row(problem(4))
    strict, loose = model(**batch), variant(model, supervision="open")(**batch)
    n = len(row.rest)
    answer = slice(-n - 1, -1)
    assert torch.allclose(strict.logits[:, answer], loose.logits[:, answer], atol=1e-4)
    assert not torch.allclose(strict.logits, loose.logits, atol=1e-2)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_nor_on_the_padding(made, chatml):
    model, rows = made
    for pad in (0, chatml.eos_token_id, rows.end):
        together = model(**batch_of(model, rows, PROBLEMS, pad))
        labels = batch_of(model, rows, PROBLEMS)["labels"]
        first = int((labels != IGNORED).any(0).int().argmax())
        place = 0
        for i, p in enumerate(PROBLEMS):
            alone = model(**batch_of(model, rows, [p]))
            n = len(alone.vectors)
            written_here = together.vectors[place : place + n]
            assert torch.allclose(written_here, alone.vectors, atol=1e-5)
            place += n
            own = mean_loss(together.logits[i : i + 1, :-1], labels[i : i + 1, first:])
            assert torch.allclose(own, alone.loss, rtol=1e-4)


@torch.no_grad()
def test_a_latent_knows_the_text_before_it_and_no_later_one(made):
    model, rows = made
    row = rows.row(problem(4))
    batch = batch_of(model, rows, [problem(4)])
    plain = model.encode(batch["encoder_ids"], batch["encoder_mask"])
    column = len(row.question)
    for i, piece in enumerate(row.pieces):
        ids = batch["encoder_ids"].clone()
        ids[0, column] = (ids[0, column] + 1) % 50
        changed = model.encode(ids, batch["encoder_mask"])
        same = [
            all(torch.equal(changed[k][j], plain[k][j]) for k in plain)
            for j in range(len(row.pieces))
        ]
        assert same == [j < i for j in range(len(row.pieces))]
        column += len(piece) + 1


@torch.no_grad()
def test_each_mask_can_be_taken_away_and_makes_a_difference(made):
    model, rows = made
    batch = batch_of(model, rows, FULL)
    plain = model(**batch)
    seen = variant(model, induction=False)(**batch)
    assert not torch.allclose(seen.vectors, plain.vectors, atol=1e-3)
    causal = variant(model, supervision="causal")(**batch)
    assert torch.equal(causal.vectors, plain.vectors), "it is the decoder's"
    assert (causal.loss - plain.loss).abs() > 1e-3


@torch.no_grad()
def test_a_latent_is_a_mixture_of_the_decoders_table_without_the_end(made):
    model, rows = made
    batch = batch_of(model, rows, FULL)
    labels = model.encode(batch["encoder_ids"], batch["encoder_mask"])
    assert labels["weights"].shape == labels["ids"].shape
    assert labels["ids"].shape[1] == model.config.k
    assert torch.allclose(labels["weights"].sum(1), torch.ones(len(labels["ids"])))
    assert not (labels["ids"] == rows.end).any()
    vectors = written(labels, model.decoder.get_input_embeddings())
    assert torch.allclose(vectors, model(**batch).vectors)


@torch.no_grad()
def test_tied_the_two_tables_make_the_same_latents_and_untied_others(made, family):
    model, rows = made
    batch = batch_of(model, rows, FULL)
    by_input, by_output = (
        variant(model, table=table)(**batch).vectors for table in ("input", "output")
    )
    assert torch.equal(by_input, by_output) == (family == "gpt2")


@torch.no_grad()
def test_hidden_states_can_take_the_place_of_mixtures(made):
    model, rows = made
    batch = batch_of(model, rows, FULL)
    plain, short = (variant(model, kind="state", scale=s)(**batch) for s in (1.0, 0.1))
    assert torch.allclose(short.vectors, 0.1 * plain.vectors)
    states = variant(model, kind="state").encode(
        batch["encoder_ids"], batch["encoder_mask"]
    )["states"]
    assert torch.equal(plain.vectors, states)
    found = model.mixture(states).embed(model.decoder.get_input_embeddings())
    assert torch.allclose(found, model(**batch).vectors)


@torch.no_grad()
def test_without_any_latent_it_is_the_plain_answer(made):
    model, rows = made
    p = problem(0, answer="1")
    out = model(**batch_of(model, rows, [p]))
    row = rows.row(p)
    ids = torch.tensor([[*row.question, *row.rest]])
    logits = model.decoder(ids).logits[:, len(row.question) - 1 : -1]
    target = torch.tensor([list(row.rest)])
    assert torch.allclose(out.loss, mean_loss(logits, target), rtol=1e-5)
    assert len(out.vectors) == 0


@torch.no_grad()
def test_the_loss_of_micro_batches_is_that_of_the_whole(made):
    model, rows = made
    whole = batch_of(model, rows, PROBLEMS)
    n = (whole["labels"] != IGNORED).sum()
    parts = [
        model(**batch_of(model, rows, some), num_items_in_batch=n).loss
        for some in (PROBLEMS[:1], PROBLEMS[1:])
    ]
    assert torch.allclose(sum(parts), model(**whole).loss, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_under_autocast_padding_is_no_nan(family, chatml, attention):
    """A mask's least number in float32 would be -inf in bfloat16."""
    model, rows = stage_one(family, chatml)
    for part in (model.encoder.base, model.decoder):
        part.set_attn_implementation(attention)
    batch, masks = batch_of(model, rows, PROBLEMS), []
    plain = model(**batch)
    for part in (model.encoder.base, model.decoder):
        part.register_forward_pre_hook(
            lambda _, args, kwargs: masks.append(kwargs["attention_mask"]),
            with_kwargs=True,
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**batch)
    assert all(mask.bfloat16().isfinite().all() for mask in masks) and len(masks) == 2
    assert torch.isfinite(out.logits).all() and torch.isfinite(out.vectors).all()
    assert torch.allclose(out.loss, plain.loss, rtol=0.1)


# --- what is trained ------------------------------------------------------------------
def test_gradient_reaches_the_encoder_through_the_weights_of_the_mixtures(
    family, chatml
):
    model, rows = stage_one(family, chatml)
    model.train_part("encoder")
    model(**batch_of(model, rows, FULL)).loss.backward()
    for name, weight in model.named_parameters():
        moved = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        head = "lm_head" in name  # of the encoder: untied, nothing reads it
        assert moved == (name.startswith("encoder") and not head), name


def test_the_mixed_table_gets_no_gradient_from_being_mixed(chatml):
    """Untied, the rows that only latents mix in are no inputs of the decoder."""
    model, rows = stage_one("llama", chatml)
    batch = batch_of(model, rows, FULL)
    model(**batch).loss.backward()
    looked_up = set(batch["decoder_ids"].flatten().tolist())
    grad = model.decoder.get_input_embeddings().weight.grad.abs().sum(1)
    labels = model.encode(batch["encoder_ids"], batch["encoder_mask"])
    mixed = set(labels["ids"].flatten().tolist()) - looked_up
    assert mixed and all(grad[i] == 0 for i in mixed)


def test_three_runs_train_encoder_decoder_and_both(family, chatml, tmp_path):
    model, rows = stage_one(family, chatml)
    frozen_head = "encoder.base.lm_head.weight"
    for part in ("encoder", "decoder", "both"):
        before = copy.deepcopy(model.state_dict())
        model.train_part(part)
        settings = RunSettings(steps=2, batch_size=2, save_steps=0, warmup=0)
        trainer = trainer_for(
            model, FULL, lambda p, _: rows.row(p), ThoughtCollator(model.latent_id),
            settings, tmp_path / part,
        )  # fmt: skip
        run(trainer)
        for name, weight in model.state_dict().items():
            moves = part == "both" or name.startswith(part)
            if name == frozen_head and family == "llama":
                continue  # weight decay alone may move it
            assert torch.equal(weight, before[name]) != moves, (part, name)
    with pytest.raises(ValueError, match="no part 'head': choose one of encoder"):
        model.train_part("head")


def test_what_was_frozen_before_stays_frozen(chatml):
    """Such as the weights under an adapter."""
    encoder, decoder = (tiny_llama(len(chatml)) for _ in range(2))
    for model in (encoder, decoder):
        model.model.layers[0].requires_grad_(False)
    model = LatentSFTModel.wrap(encoder, decoder)
    for part in ("both", "decoder", "encoder", "both"):
        model.train_part(part)
        for name, weight in model.named_parameters():
            wanted = ".layers.0." not in name and part in ("both", name.split(".")[0])
            assert weight.requires_grad == wanted, (part, name)


# --- saved, refused -------------------------------------------------------------------
@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(made, tmp_path):
    model, rows = made
    model.save_pretrained(tmp_path)
    again = LatentSFTModel.from_pretrained(tmp_path).eval()
    batch = batch_of(model, rows, PROBLEMS)
    assert torch.equal(again(**batch).loss, model(**batch).loss)
    assert again.config.end == rows.end and again.config.supervision == "strict"


def test_models_that_do_not_fit_are_refused(chatml):
    one = tiny_llama(len(chatml))
    with pytest.raises(ValueError, match="one model: load it twice"):
        LatentSFTModel.wrap(one, one)
    with pytest.raises(ValueError, match="need tables of one shape"):
        LatentSFTModel.wrap(one, tiny_gpt2(len(chatml) + 1))
    other = tiny_llama(len(chatml))
    other.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="takes no mask of rows and columns"):
        LatentSFTModel.wrap(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "ghost"}, "no kind 'ghost': choose one of mixture, state"),
        ({"table": "head"}, "no table 'head': choose one of input, output"),
        ({"supervision": "lax"}, "no supervision 'lax': choose one of strict, open"),
    ],
)
def test_what_there_is_not_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        LatentSFTConfig(**wrong)
