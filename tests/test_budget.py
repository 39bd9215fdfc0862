"""Laws of the budget, alone and under threads that ask a real local server."""

import threading

import pytest
from fault_server import PRICES, status

from lrkit.answer.budget import Budget
from lrkit.answer.cascade import Cascade


@pytest.mark.parametrize("workers", [1, 6])
def test_the_budget_is_never_exceeded(client, server, first, rows, workers):
    texts = rows["running_message"].tolist()[:30]
    one = client(budget=Budget(**PRICES)).answer(texts[0]).cost
    server.bodies.clear()
    server.faults = [status(500), ("drop", None)] * 3
    for limits in ({"max_requests": 11}, {"max_spend": 25 * one}):
        budget, before = Budget(**limits, **PRICES), len(server.bodies)
        endpoint = client(budget=budget, max_retries=9)
        cascade = Cascade(first, endpoint, 2, when_spent="abstain", max_workers=workers)
        result = cascade.predict(texts)
        sent = len(server.bodies) - before
        assert sent == budget.requests == result["attempts"].sum()
        assert result["cost"].sum() == pytest.approx(budget.spent)
        assert sent <= limits.get("max_requests", 30 + 6)
        assert budget.spent <= limits.get("max_spend", 1)
        spent = result["reason"].str.contains("BudgetSpent")
        assert 0 < spent.sum() < 30
        assert (result.loc[spent, "route"] == "abstain").all()
        assert result.loc[spent, "label"].isna().all()


def test_requests_in_flight_hold_their_most_and_release_the_rest():
    budget = Budget(max_spend=1.0, **PRICES)
    assert budget.reserve(0.7) == ""
    waiting = threading.Thread(target=budget.reserve, args=(0.7,))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive() and budget.requests == 1
    budget.settle(0.7, 0.1)
    waiting.join(2)
    assert budget.requests == 2
    budget.settle(0.7, 0.7)
    assert budget.reserve(0.7) == "max_spend" and budget.spent == pytest.approx(0.8)


def test_a_limit_on_spending_needs_prices():
    with pytest.raises(ValueError, match="give prices"):
        Budget(max_spend=1.0)
