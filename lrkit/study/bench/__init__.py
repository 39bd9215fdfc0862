"""How fast is one token? Ways to an answer, measured side by side in one process.

`cases` are models with their prompts, `ways` lead from a prompt to an answer,
`measuring` takes their times in turn, `report` turns times into ratios and tables.
`make bench` runs all of it and writes `results/bench_one_token.json` and its figure.
Which answer is right is no question here, only that all ways give the same one.
"""
