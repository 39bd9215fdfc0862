"""Make the embedded base `talk` again: tokenizer, corpus, training, model card.

`make pretrain` runs this. It is resumable (a killed run goes on from its last
checkpoint) and deterministic up to floating-point order. Nothing here knows about the
classification task.
"""
