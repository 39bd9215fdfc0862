"""Solutions to the exercises of 12 · Compression and the scoreboard."""


def front(costs, accuracies):
    """Indices of the methods on the Pareto front, cheapest first."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -accuracies[i]))
    kept, best = [], float("-inf")
    for i in order:
        if accuracies[i] > best:
            kept.append(i)
            best = accuracies[i]
    return kept


def verdict(low, high, bound=0.0, above=True):
    """ "reproduced", "the reverse" or "not shown"."""
    if not above:
        low, high, bound = -high, -low, -bound
    if low > bound:
        return "reproduced"
    return "the reverse" if high < bound else "not shown"
