"""Solutions to the exercises of 06 · CODI and its relatives."""


def stage_of(steps, stage, per_step, last):
    """(number of latents, steps still written) at a stage."""
    n = min(stage, last) * per_step
    return n, steps[stage:] if stage <= last else ()


def cue_position(ids, answer_ids, decode):
    """Index in ids of the last token before the answer's first visible one."""
    width = len(answer_ids)
    starts = [k for k in range(len(ids)) if list(ids[k : k + width]) == answer_ids]
    lead = 0
    while lead < width - 1 and not decode(answer_ids[lead]).strip():
        lead += 1
    return starts[-1] + lead - 1
