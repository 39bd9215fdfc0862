"""Solutions to the exercises of 01 · Label and prompt."""

import re

from lrkit.data.build import customer_lines


def leaking_messages(these, others):
    """Normalised customer messages of `these` that also occur in `others`."""

    def messages(texts):
        lines = (line for text in texts for line in customer_lines(text))
        return {re.sub("[^a-z]+", " ", line.lower()).strip() for line in lines}

    return messages(these) & messages(others)


def supervised_row(prompt_ids, completion_ids):
    """(input_ids, labels) with the prompt ignored in the loss."""
    prompt_ids, completion_ids = list(prompt_ids), list(completion_ids)
    return prompt_ids + completion_ids, [-100] * len(prompt_ids) + completion_ids
