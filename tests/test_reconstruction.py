"""Laws of what a thinker writes back from its vectors."""

import pytest
import torch
from lgr_models import PROBLEMS, K, thinker

from lrkit.data.problems import problems
from lrkit.latent.lgr_guidance import think
from lrkit.latent.solvers import SlotSolver
from lrkit.study.information import reconstruction_nats
from lrkit.study.latent_controls import of_another
from lrkit.study.reconstruction import nats_by_vectors_kept, true_share, written_back

SOME = [p for p in PROBLEMS if p.steps]


@pytest.fixture(params=[False, True], ids=["question unseen", "question seen"])
def solver(chatml, request):
    model, rows = thinker(chatml, recon_sees_question=request.param)
    return SlotSolver(model, rows, K, batch_size=3)


@torch.no_grad()
def test_chains_are_those_of_whole_passes_without_a_cache(solver):
    model, rows = solver.model, solver.rows
    end = rows.encode("\n")[-1]
    found = written_back(solver, SOME, max_new_tokens=5)
    for p, chain in zip(SOME, found, strict=True):
        latents = model.map(think(model, rows, [p.question]))
        row = rows.reconstruction(p)
        ids = [*row.before, *[model.id_of("<slot>")] * K, rows.recon]
        new = []
        while len(new) < 5 and end not in new:
            out = model.reconstruct(latents, torch.tensor([ids + new]))
            new.append(int(out.logits[0, -1].argmax()))
        wanted = [token for token in new if token != end]
        assert chain == rows.tokenizer.decode(wanted, skip_special_tokens=True)


def test_a_chain_does_not_depend_on_its_batch_nor_on_the_steps(solver):
    together = written_back(solver, SOME, max_new_tokens=6)
    alone = [written_back(solver, [p], max_new_tokens=6)[0] for p in SOME]
    assert together == alone


def test_changed_vectors_are_what_is_written_from(solver):
    seen = []

    def other(guidance):
        seen.append(guidance.clone())
        return of_another(guidance)

    swapped = written_back(solver, SOME, other, 6)
    assert seen[0].shape[:2] == (len(SOME), K)
    if solver.rows.recon_sees_question:
        return
    own = written_back(solver, SOME, max_new_tokens=6)
    assert swapped == [own[-1], *own[:-1]], "H alone decides the chain"


def test_all_vectors_kept_is_the_loss_and_none_is_that_of_another_question(solver):
    kept = nats_by_vectors_kept(solver, SOME)
    assert len(kept) == K + 1
    model, rows = solver.model, solver.rows
    assert kept[-1] == pytest.approx(reconstruction_nats(model, rows, SOME))
    foreign = reconstruction_nats(model, rows, SOME, of_another)
    assert kept[0] == pytest.approx(foreign)
    assert kept[0] != pytest.approx(kept[-1]) and kept[1] != pytest.approx(kept[-1])


def test_equations_are_true_on_the_clock_whatever_was_asked():
    for p in problems("clock", "validation", 50):
        hours = p.made_from["n_hours"]
        assert true_share(" ".join(p.steps), hours) == 1
        assert true_share(" ".join([*p.steps, "<<1+1=3>>"]), hours) == (
            p.n_steps / (p.n_steps + 1)
        )
    assert true_share("<<2-5=7>> <<2*6=2>>", 10) == 1 and true_share("so 7", 10) == 0
    assert true_share("<<2-5=7>>", 12) == 0
