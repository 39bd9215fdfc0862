"""A label file, its rows and what stands in it, for the tests of labelling.

Buttons are clicked, processes are killed and files are cut for real; nothing is faked.
The fixture is loaded by `conftest.py`.
"""

import pytest

from lrkit.data.labelling import LabelStore

ROWS = [
    {"id": f"r{i}", "running_message": f"Support Agent: Hello.\nCustomer: Case {i}."}
    for i in range(4)
]
WITHOUT_TIME = ["id", "label", "reason", "annotator"]


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels.jsonl")


def state(store, annotator=None):
    """What stands, without the times."""
    return store.labels(annotator)[WITHOUT_TIME].values.tolist()


GOOD = b'{"id": "a", "label": "yes", "reason": "", "annotator": "me", "time": ""}\n'
