"""How much of a chain of thought is needed to answer? Chains are damaged and read.

The question is that of Latent Reasoning Tuning (ICLR 2026): a model answers almost as
well when half of its own chain is missing. Here is their measurement, and the controls
without which it says little.

    splitting   a chain as its steps, and the text of some of them
    dropping    what is removed, kept or moved
    mentions    where a text still states the answer
    reading     a causal LM that writes chains and reads damaged ones
    measuring   a row for each question and damage
    curves      accuracy over what was removed, with intervals
    ideal       what a reader could know at best, from how often each step is said
    masking     another question: states of the whole chain that nobody may look at
    damaged     a method: training on damaged chains, so that they are no surprise
    compact     redundant chains in the words of an embedded base
    asking      a question that is shown, or hidden
    readers     two readers of compact chains, whole and damaged, trained or found
    agreement   how far a model's curve is from the ideal reader's
    packing     rows in small files
"""
