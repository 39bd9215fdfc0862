"""What the sources say, and what was found: a row each, made from the recorded runs.

`claim` has the mechanism, `evidence` reads the records, and every other module here
lists the claims of one source. `python -m lrkit.study.claims` writes
`results/claims.csv`.
"""
