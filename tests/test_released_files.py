"""Laws of reading a checkpoint: every kind of file, no code of others, no download."""

import json
import pickle

import pytest
import torch
from released_models import save_tensors, save_torch

from lrkit.latent.released.files import located, read_tensors, weight_file


def theirs():
    torch.manual_seed(3)
    table = torch.randn(7, 4)
    return {"wte": table, "head": table.clone(), "prj.bias": torch.randn(4)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_tensors_come_out_of_every_kind_of_file(tmp_path):
    tensors = theirs()
    for folder in (
        save_tensors(tensors, tmp_path / "a"),
        save_torch(tensors, tmp_path / "b"),
        save_torch(tensors, tmp_path / "c", "checkpoint_33"),
    ):
        (folder / "training_args.bin").write_bytes(b"no weights")
        assert same(read_tensors(weight_file(folder)), tensors)
        assert same(read_tensors(weight_file(weight_file(folder))), tensors)


def sharded(folder, suffix, save):
    tensors = theirs()
    parts = {f"part-1.{suffix}": ["wte", "prj.bias"]}
    parts[f"part-2.{suffix}"] = [k for k in tensors if k not in ("wte", "prj.bias")]
    for name, keys in parts.items():
        save({k: tensors[k] for k in keys}, folder, name)
    where = {k: name for name, keys in parts.items() for k in keys}
    (folder / f"model.{suffix}.index.json").write_text(
        json.dumps({"weight_map": where})
    )
    return tensors


@pytest.mark.parametrize(
    ("suffix", "save"), [("safetensors", save_tensors), ("bin", save_torch)]
)
def test_shards_are_read_by_their_index_and_held_to_it(tmp_path, suffix, save):
    tensors = sharded(tmp_path, suffix, save)
    assert same(read_tensors(weight_file(tmp_path)), tensors)
    (tmp_path / f"part-2.{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match="names part-2"):
        read_tensors(weight_file(tmp_path))
    save({"wte": tensors["wte"]}, tmp_path, f"part-1.{suffix}")
    with pytest.raises(ValueError, match=r"differ in 1 tensors, such as prj\.bias"):
        read_tensors(weight_file(tmp_path))


def test_several_files_need_a_name_and_none_is_an_error(tmp_path):
    for k in (1, 2):
        save_torch(theirs(), tmp_path, f"checkpoint_{k}")
    with pytest.raises(FileNotFoundError, match="2 files of weights"):
        weight_file(tmp_path)
    assert weight_file(tmp_path, "checkpoint_2").name == "checkpoint_2"
    with pytest.raises(FileNotFoundError, match="has no checkpoint_3"):
        weight_file(tmp_path, "checkpoint_3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no weights"):
        weight_file(tmp_path / "empty")


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    file, mark = tmp_path / "pytorch_model.bin", tmp_path / "mark"
    file.write_bytes(pickle.dumps({"wte": Evil(mark)}))
    with pytest.raises(ValueError, match="no file of tensors alone"):
        read_tensors(file)
    assert not mark.exists()
    torch.save({"model": theirs()}, file)
    with pytest.raises(ValueError, match="no dictionary of named tensors"):
        read_tensors(file)


def test_nothing_is_downloaded_unasked_and_offline_it_says_what_to_do(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    seen = []

    def fake(name, **how):
        seen.append((name, how["revision"], how["local_files_only"]))
        raise OSError("no network")

    monkeypatch.setattr("lrkit.latent.released.files.snapshot_download", fake)
    with pytest.raises(FileNotFoundError, match=r"in the cache.*--download.*copy"):
        located("zen-E/CODI-gpt2@abc")
    with pytest.raises(FileNotFoundError, match="could not be had from the hub"):
        located("zen-E/CODI-gpt2", download=True)
    assert seen == [("zen-E/CODI-gpt2", "abc", True), ("zen-E/CODI-gpt2", None, False)]
    with pytest.raises(FileNotFoundError, match="is not there"):
        located(tmp_path / "nowhere")
    assert len(seen) == 2
