"""One-token classification: prompts, label ids, training, scoring."""
