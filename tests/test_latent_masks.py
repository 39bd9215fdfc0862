"""Laws of the masks and positions of Latent-SFT: by definition, and in real models."""

from itertools import product

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.latent.latent_masks import (
    additive,
    causal_mask,
    induction_mask,
    induction_positions,
    supervision_mask,
    supervision_positions,
)

VOCAB, WIDTH = 40, 32
LONGEST = 12  # of the rows without padding; with padding 3 ** 8 are enough
PAD, TEXT, LATENT = "-", "t", "L"


def llama(layers):
    """With grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=64,
        )
    )  # fmt: skip


def gpt2(layers):
    """With learned positions."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB, n_embd=WIDTH, n_layer=layers, n_head=4, n_positions=64,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        )
    )  # fmt: skip


def tensors(rows):
    """(`is_latent`, `attention_mask`) of rows of letters."""
    return (
        torch.tensor([[c == LATENT for c in row] for row in rows]),
        torch.tensor([[int(c != PAD) for c in row] for row in rows]),
    )


def every_row():
    """Batches of all rows there are, by length: padding in them up to 8 columns."""
    for n in range(1, LONGEST + 1):
        yield list(product(TEXT + LATENT, repeat=n))
        if n <= 8:
            yield [row for row in product(PAD + TEXT + LATENT, repeat=n) if PAD in row]


# --- by definition --------------------------------------------------------------------
def segments(row):
    """For each column (kind, number): question, latent i, text behind i, final."""
    n_latents, number, found = row.count(LATENT), 0, []
    for c in row:
        if c == PAD:
            found.append(("pad", None))
        elif c == LATENT:
            number += 1
            found.append(("latent", number))
        elif number == 0:
            found.append(("question", 0))
        else:
            found.append(("final" if number == n_latents else "text", number))
    return found


def induced(reader, read, same):
    """Section 3 of the source, as a sentence: latents are read by nobody else."""
    return same or read[0] != "latent"


def supervised(strict):
    def reads(reader, read, same):
        if read[0] in ("text", "final"):
            return read == reader
        if reader[0] == "question":
            return read[0] == "question"
        if reader[0] == "text" and strict:
            return read == ("latent", reader[1])
        return True

    return reads


def by_brute_force(row, reads):
    kinds = segments(row)
    return [
        [
            j <= i and "pad" not in (a[0], b[0]) and reads(a, b, i == j)
            for j, b in enumerate(kinds)
        ]
        for i, a in enumerate(kinds)
    ]


@pytest.mark.parametrize("name", ["induction", "strict", "paper", "causal"])
def test_a_mask_is_its_definition_for_every_row_there_is(name):
    make, reads = {
        "induction": (induction_mask, induced),
        "strict": (supervision_mask, supervised(True)),
        "paper": (lambda *two: supervision_mask(*two, strict=False), supervised(False)),
        "causal": (lambda _, mask: causal_mask(mask), lambda *_: True),
    }[name]
    for rows in every_row():
        found = make(*tensors(rows)).tolist()
        for row, mask in zip(rows, found, strict=True):
            assert mask == by_brute_force(row, reads), "".join(row)


def test_a_row_without_latents_is_read_causally():
    two = tensors([TEXT * 6, PAD + TEXT * 5])
    for mask in (induction_mask(*two), supervision_mask(*two)):
        assert torch.equal(mask, causal_mask(two[1]))


# --- positions ------------------------------------------------------------------------
EXAMPLE = "tttLttLttLtt"


def test_the_two_tracks_of_the_example():
    found = supervision_positions(*tensors([EXAMPLE]))[0].tolist()
    assert found == [0, 1, 2, 3, 4, 5, 4, 5, 6, 5, 6, 7]


def test_positions_are_their_definition_for_every_row_there_is():
    for rows in every_row():
        two = tensors(rows)
        tracks = supervision_positions(*two).tolist()
        plain = induction_positions(*two).tolist()
        for row, track, count in zip(rows, tracks, plain, strict=True):
            n_question = segments(row).count(("question", 0))
            number, at, text = 0, -1, 0
            for c, here, encoder in zip(row, track, count, strict=True):
                if c == PAD:
                    assert here == encoder == 0
                    continue
                assert encoder == text
                if c == LATENT:
                    number, at = number + 1, n_question + number
                else:
                    at, text = at + 1, text + 1
                assert here == at, "".join(row)


def test_without_its_text_a_row_has_the_positions_it_has_with_it():
    """What a decoder learns of latents among text holds where they stand alone."""
    rows = tensors([EXAMPLE])
    kinds = [kind for kind, _ in segments(EXAMPLE)]
    stays = torch.tensor([kind != "text" for kind in kinds])
    alone = supervision_positions(rows[0][:, stays], rows[1][:, stays])
    assert torch.equal(alone, supervision_positions(*rows)[:, stays])
    assert alone[0].tolist() == list(range(int(stays.sum())))


def test_padding_moves_no_position():
    inner = "ttLtLt"
    for make in (supervision_positions, induction_positions):
        alone = make(*tensors([inner]))[0].tolist()
        for left, right in ((3, 0), (0, 2), (2, 2)):
            padded = make(*tensors([PAD * left + inner + PAD * right]))[0].tolist()
            assert padded[left : left + len(inner)] == alone


# --- in real models -------------------------------------------------------------------
ROW = PAD + "ttLttLtLLtt" + PAD


@torch.no_grad()
def hidden(model, embeddings, allowed, positions):
    return model(
        inputs_embeds=embeddings,
        attention_mask=additive(allowed, torch.float32),
        position_ids=positions,
        output_hidden_states=True,
    ).hidden_states[-1]


@pytest.fixture(params=["sdpa", "eager"])
def attention(request):
    return request.param


@pytest.mark.parametrize("family", [llama, gpt2])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", ["induction", "strict", "paper"])
def test_what_may_not_be_seen_can_change_without_a_bit_of_difference(
    family, layers, name, attention
):
    two = tensors([ROW])
    allowed, positions = {
        "induction": (induction_mask(*two), induction_positions(*two)),
        "strict": (supervision_mask(*two), supervision_positions(*two)),
        "paper": (supervision_mask(*two, strict=False), supervision_positions(*two)),
    }[name]
    torch.manual_seed(0)
    model = family(layers).eval()
    model.set_attn_implementation(attention)
    embeddings = torch.randn(1, len(ROW), WIDTH)
    plain = hidden(model, embeddings, allowed, positions)[0]
    assert plain.isfinite().all(), "also where padding may read nothing"
    # Over several blocks a column is also seen through those that see it.
    reached = torch.eye(len(ROW)).bool()
    for _ in range(layers):
        reached = reached | ((allowed[0].float() @ reached.float()) > 0)
    for j in range(len(ROW)):
        changed = embeddings.clone()
        changed[0, j] = 5 * torch.randn(WIDTH)
        same = (hidden(model, changed, allowed, positions)[0] == plain).all(-1)
        for i, c in enumerate(ROW):
            if c != PAD:
                assert bool(same[i]) == (not bool(reached[i, j])), (i, j)


@pytest.mark.parametrize("family", [llama, gpt2])
def test_text_among_latents_has_the_states_of_the_plain_chain(family):
    torch.manual_seed(0)
    model = family(3).eval()
    row = "tttttLttLttLt"
    two = tensors([row])
    embeddings = torch.randn(1, len(row), WIDTH)
    among = hidden(model, embeddings, induction_mask(*two), induction_positions(*two))
    text = ~two[0][0]
    n = int(text.sum())
    chain = hidden(
        model, embeddings[:, text], causal_mask(torch.ones(1, n)), torch.arange(n)[None]
    )
    assert torch.allclose(among[:, text], chain, atol=1e-5)


@pytest.mark.parametrize("family", [llama, gpt2])
def test_a_row_does_not_depend_on_its_batch(family):
    torch.manual_seed(0)
    model = family(2).eval()
    rows = ["ttLttLt", "ttttt", "tLLtttttLtt"]
    width = max(map(len, rows))
    embeddings = torch.randn(3, width, WIDTH)
    for left in (True, False):
        padded = [r.rjust(width, PAD) if left else r.ljust(width, PAD) for r in rows]
        two = tensors(padded)
        together = hidden(
            model, embeddings, supervision_mask(*two), supervision_positions(*two)
        )
        for i, row in enumerate(rows):
            real, one = two[1][i].bool(), tensors([row])
            alone = hidden(
                model, embeddings[i : i + 1, real], supervision_mask(*one),
                supervision_positions(*one),
            )  # fmt: skip
            assert torch.allclose(together[i, real], alone[0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_additive_mask_is_finite_and_hides_whatever_the_dtype(dtype):
    allowed = supervision_mask(*tensors([ROW, PAD * len(ROW)]))
    mask = additive(allowed, dtype)
    assert mask.shape == (2, 1, len(ROW), len(ROW)) and mask.dtype == dtype
    assert mask.isfinite().all()
    shares = mask.float().softmax(-1)[:, 0]
    assert (shares[~allowed & allowed.any(-1, keepdim=True)] == 0).all()
    assert not shares.isnan().any()
