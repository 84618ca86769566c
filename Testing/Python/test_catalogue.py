"""The model catalogue against what users put into it: broken cards, cut files, programs, odd surroundings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from SliceInterpolationLib import Volume, catalogue, interpolate
from SliceInterpolationLib.catalogue import adding, consent, find_model, read_catalogue, remove_model
from SliceInterpolationLib.catalogue.adding import add_model
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.errors import Cancelled, InputError
from SliceInterpolationLib.interpolators import CLASSICAL
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.process import BAD_INPUT, CANCELLED, DONE
from SliceInterpolationLib.weights import read_shapes, read_weights, sha256, write_weights

BUNDLED = ["flow-refine", "ifrnet-style", "rife-style"]
CONFIG = {"channels": 4, "blocks": 1}


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """The user's model folder, with one good model."""
    folder = tmp_path / "models"
    monkeypatch.setenv("SLICE_INTERPOLATION_MODELS", str(folder))
    write_model(folder / "good")
    return folder


def write_model(folder: Path, network=None, **entries) -> Path:
    """A small model with random weights, called as its folder, its card changed by `entries`."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    write_weights(network or build("msi-cnn", **CONFIG), folder / catalogue.WEIGHTS)
    card = {
        "name": folder.name,
        "architecture": "msi-cnn",
        "config": CONFIG,
        "weights_sha256": sha256(folder / catalogue.WEIGHTS),
        "gap_mm": [1, 10],
        "intensity": "unit",
        **entries,
    }
    card = {name: value for name, value in card.items() if value is not ...}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def scan(units: str = "HU") -> Volume:
    y, x = np.mgrid[:40, :40]
    slices = [40 + 30 * np.sin(x / 5 + k) * np.cos(y / 6) for k in range(3)]
    return Volume(np.stack(slices).astype(np.int16), spacing=(0.5, 0.5, 5), units=units)


def check_only_that_one_is_unusable(name: str, words: str, capsys) -> None:
    """The folder `name` is listed with a reason that says `words`; everything else goes on."""
    usable, unusable = read_catalogue()
    assert [model.name for model in usable] == [*BUNDLED, "good"]
    assert [entry.name for entry in unusable] == [name]
    assert words in unusable[0].reason
    assert "\n" not in unusable[0].reason
    capsys.readouterr()
    assert main(["models"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(name) and "unusable" in line and words in line for line in lines)
    assert any(line.startswith("good") and "unusable" not in line for line in lines)
    with pytest.raises(InputError) as caught:
        find_model(name)
    assert words in str(caught.value)
    assert interpolate(scan(), method="good", device="cpu").volume.slice_count == 5
    remove_model(name)
    assert not os.path.lexists(catalogue.user_folder() / name)
    assert find_model("good")


ENTRIES = {
    "gap as texts": ({"gap_mm": ["1", "10"]}, "gap_mm"),
    "gap reversed": ({"gap_mm": [10, 1]}, "gap_mm"),
    "gap of nothing": ({"gap_mm": [0, 5]}, "gap_mm"),
    "gap negative": ({"gap_mm": [-1, 5]}, "gap_mm"),
    "gap not finite": ({"gap_mm": [1, float("inf")]}, "finite"),
    "gap NaN": ({"gap_mm": [float("nan"), 5]}, "finite"),
    "gap astronomic": ({"gap_mm": [1, 10**400]}, "gap_mm"),
    "gap of truth": ({"gap_mm": [True, 5]}, "gap_mm"),
    "gap of three": ({"gap_mm": [1, 2, 3]}, "gap_mm"),
    "gap one number": ({"gap_mm": 5}, "gap_mm"),
    "gap absent": ({"gap_mm": ...}, "lacks gap_mm"),
    "name a number": ({"name": 5}, "name must be"),
    "name empty": ({"name": ""}, "cannot be a model name"),
    "name a path": ({"name": "../../outside"}, "cannot be a model name"),
    "name of Windows": ({"name": "CON"}, "cannot be a model name"),
    "name of Windows with suffix": ({"name": "lpt1.net"}, "cannot be a model name"),
    "name too long": ({"name": "n" * 65}, "cannot be a model name"),
    "name ends in a dot": ({"name": "mine."}, "cannot be a model name"),
    "name with a space": ({"name": "my model"}, "cannot be a model name"),
    "name not ASCII": ({"name": "hirn²"}, "cannot be a model name"),
    "name half a letter": ({"name": "\ud800"}, "half a character"),
    "name of a method": ({"name": "linear"}, "name of a method"),
    "name of a method, capital": ({"name": "Flow"}, "name of a method"),
    "name default": ({"name": "Default"}, "name of a method"),
    "name taken": ({"name": "flow-refine"}, "exists already"),
    "name taken, capital": ({"name": "RIFE-style"}, "exists already"),
    "architecture unknown": ({"architecture": "best-net"}, "architecture must be"),
    "architecture a list": ({"architecture": ["msi-cnn"]}, "architecture must be"),
    "config a list": ({"config": []}, "config must be"),
    "config refused": ({"config": {"depth": 7}}, "cannot be built so"),
    "config not of the weights": ({"config": {"channels": 8, "blocks": 1}}, "do not fit"),
    "config astronomic": ({"config": {"channels": 10**9, "blocks": 1}}, "cannot be built so"),
    "config beyond memory": ({"config": {"channels": 10**5, "blocks": 1}}, "do not fit"),
    "config of its own name": ({"config": {"architecture": "saint"}}, "cannot be built so"),
    "hash a number": ({"weights_sha256": 5}, "weights_sha256 must be"),
    "hash too short": ({"weights_sha256": "abc"}, "weights_sha256 must be"),
    "intensity unknown": ({"intensity": "lung"}, "intensity must be"),
    "intensity a table": ({"intensity": {}}, "intensity must be"),
    "weights elsewhere": ({"weights": "../../video.pt"}, "weights must be"),
    "weights below": ({"weights": "a\\b"}, "weights must be"),
    "weights nowhere": ({"weights": ""}, "weights must be"),
    "weights the card": ({"weights": "card.json"}, "weights must be"),
    "weights a number": ({"weights": 5}, "weights must be"),
    "weights absent": ({"weights": "absent.bin"}, "is missing"),
    "description a list": ({"description": ["good"]}, "description must be"),
    "description for a terminal": ({"description": "\x1b[2J"}, "description must be"),
    "default a text": ({"default": "no"}, "default must be"),
    "training a text": ({"training": "long"}, "training must be"),
    "number beyond floats": ({"figures": {"psnr": "1e999"}}, "finite"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_wrong_entry_makes_one_model_unusable(models, capsys, case):
    entries, words = ENTRIES[case]
    card = write_model(models / "bad", **entries) / "card.json"
    card.write_text(card.read_text().replace('"1e999"', "1e999"))
    if "config" in entries:  # known as soon as the architecture is looked at, which needs PyTorch
        assert main(["models"]) == DONE
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("bad"))
        assert words in line or words == "config must be"
        with pytest.raises(InputError, match=words):
            find_model("bad").load()
        remove_model("bad")
    else:
        check_only_that_one_is_unusable("bad", words, capsys)


CONTENTS = {
    "nothing": (b"", "not JSON"),
    "not JSON": (b"name: bad", "not JSON"),
    "cut": (b'{"name": "bad", ', "not JSON"),
    "a list": (b"[]", "not a table"),
    "null": (b"null", "not a table"),
    "a text": (b'"name architecture config weights_sha256 gap_mm intensity"', "not a table"),
    "Latin-1": ('{"name": "Schädel"}'.encode("latin-1"), "UTF-8"),
    "UTF-16": ('{"name": "bad"}'.encode("utf-16"), "UTF-8"),
    "deep list": (b"[" * 100_000, "deep"),
    "deep table": (b'{"a":' * 300 + b"1" + b"}" * 300, "deep"),
    "long number": (b"[" + b"9" * 6000 + b"]", "bad"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_broken_card_makes_one_model_unusable(models, capsys, case):
    content, words = CONTENTS[case]
    (write_model(models / "bad") / "card.json").write_bytes(content)
    check_only_that_one_is_unusable("bad", words, capsys)


def _no_card(folder: Path) -> None:
    (folder / "card.json").unlink()


def _card_is_a_folder(folder: Path) -> None:
    (folder / "card.json").unlink()
    (folder / "card.json").mkdir()


def _card_is_a_pipe(folder: Path) -> None:
    (folder / "card.json").unlink()
    os.mkfifo(folder / "card.json")


def _card_is_a_loop(folder: Path) -> None:
    (folder / "card.json").unlink()
    (folder / "card.json").symlink_to(folder / "card.json")


def _card_is_huge(folder: Path) -> None:
    os.truncate(folder / "card.json", 5 << 30)  # takes no room on the disk


def _weights_are_cut(folder: Path) -> None:
    os.truncate(folder / catalogue.WEIGHTS, 700)


def _weights_are_empty(folder: Path) -> None:
    os.truncate(folder / catalogue.WEIGHTS, 0)


def _weights_are_a_folder(folder: Path) -> None:
    (folder / catalogue.WEIGHTS).unlink()
    (folder / catalogue.WEIGHTS).mkdir()


def _weights_are_a_pipe(folder: Path) -> None:
    (folder / catalogue.WEIGHTS).unlink()
    os.mkfifo(folder / catalogue.WEIGHTS)


def _folder_is_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _folder_leads_nowhere(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.with_name("absent"))


FILES = {
    _no_card: "lacks card.json",
    _card_is_a_folder: "lacks card.json",
    _card_is_a_pipe: "lacks card.json",
    _card_is_a_loop: "lacks card.json",
    _card_is_huge: "larger than 1 MiB",
    _weights_are_cut: "not a complete safetensors file",
    _weights_are_empty: "not a complete safetensors file",
    _weights_are_a_folder: "is missing",
    _weights_are_a_pipe: "is missing",
    _folder_is_empty: "lacks card.json",
    _folder_leads_nowhere: "lacks card.json",
}


@pytest.mark.parametrize("spoil", FILES, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_broken_folder_is_one_unusable_model(models, capsys, spoil):
    spoil(write_model(models / "bad"))
    check_only_that_one_is_unusable("bad", FILES[spoil], capsys)


def test_what_may_not_be_read_is_one_unusable_model(monkeypatch):
    """As another user than root, who may read everything."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders are closed to that user
    try:
        monkeypatch.setenv("SLICE_INTERPOLATION_MODELS", str(place))
        write_model(place / "good")
        (write_model(place / "closed-card") / "card.json").chmod(0)
        (write_model(place / "closed-weights") / catalogue.WEIGHTS).chmod(0)
        write_model(place / "closed").chmod(0)
        place.chmod(0o755)
        with _as_nobody():
            usable, unusable = read_catalogue()
        assert "good" in [model.name for model in usable]
        reasons = {entry.name: entry.reason for entry in unusable if not entry.bundled}
        assert set(reasons) == {"closed", "closed-card", "closed-weights"}
        assert all("cannot be read: Permission denied" in reason for reason in reasons.values())
        place.chmod(0)
        with _as_nobody():
            (all_of_it,) = (entry for entry in read_catalogue()[1] if not entry.bundled)
        assert all_of_it.folder == place
        assert "Permission denied" in all_of_it.reason
        with pytest.raises(InputError, match="no model"):  # the place itself is no model
            remove_model(all_of_it.name)
    finally:
        place.chmod(0o755)
        (place / "closed").chmod(0o755)
        shutil.rmtree(place)


class _as_nobody:
    def __enter__(self) -> None:
        self.before = os.geteuid()
        if self.before == 0:
            os.seteuid(65534)

    def __exit__(self, *exception: object) -> None:
        os.seteuid(self.before)


def test_a_mark_of_the_byte_order_is_no_fault(models):
    card = write_model(models / "windows") / "card.json"
    card.write_bytes(b"\xef\xbb\xbf" + card.read_bytes())
    assert find_model("windows").gap_mm == (1, 10)


def test_a_linked_model_is_used_and_only_its_link_removed(models, tmp_path):
    elsewhere = write_model(tmp_path / "elsewhere" / "linked")
    (models / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert find_model("linked").load()
    remove_model("linked")
    assert not os.path.lexists(models / "linked")
    assert (elsewhere / "card.json").is_file()


def test_nothing_outside_of_the_folder_can_be_removed(models, tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("../scans", str(tmp_path / "scans"), ".", "..", ""):
        with pytest.raises(InputError, match="no model"):
            remove_model(name)
    for name in (*BUNDLED, "default"):
        with pytest.raises(InputError, match="cannot be removed"):
            remove_model(name)
    assert (tmp_path / "scans").is_dir()
    write_model(models / "flow-refine")  # a copy of the user's that can be removed by its folder
    remove_model("flow-refine")
    assert find_model("flow-refine").bundled


def test_methods_are_those_that_no_model_may_be_called():
    assert (*CLASSICAL, "flow") == catalogue.METHODS


# Where models live


def test_an_empty_variable_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "stranger")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("SLICE_INTERPOLATION_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, "")
    folder = catalogue.user_folder()
    assert folder.is_absolute()
    assert tmp_path / "home" in folder.parents
    assert read_catalogue()[1] == []
    assert [model.name for model in catalogue.list_models()] == BUNDLED
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert catalogue.user_folder() == folder


def test_without_a_home_there_are_the_bundled_models(monkeypatch, tmp_path, capsys):
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)  # as in a container, for a user without an entry
    for variable in ("SLICE_INTERPOLATION_MODELS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["models"]) == DONE
    assert "no home folder" in capsys.readouterr().out
    assert interpolate(scan(), device="cpu").volume.slice_count == 5
    assert main(["models", "add", str(write_model(tmp_path / "mine"))]) == BAD_INPUT
    assert "SLICE_INTERPOLATION_MODELS" in capsys.readouterr().err


# Adding


def test_a_model_comes_whole(models, tmp_path, capsys):
    source = write_model(tmp_path / "mine")
    (source / "notes.txt").write_text("stays where it is")
    assert main(["models", "add", str(source / catalogue.WEIGHTS)]) == DONE
    assert capsys.readouterr().out.strip() == str(models / "mine")
    assert sorted(os.listdir(models / "mine")) == ["card.json", catalogue.WEIGHTS]
    assert sorted(os.listdir(models)) == ["good", "mine"]
    with pytest.raises(InputError, match="exists already"):
        add_model(source)


def _network_with(value: float) -> torch.nn.Module:
    network = build("msi-cnn", **CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


def _spoil_weights(folder: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / catalogue.WEIGHTS)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, folder / catalogue.WEIGHTS)
    card = json.loads((folder / "card.json").read_text())
    card["weights_sha256"] = sha256(folder / catalogue.WEIGHTS)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(models, tmp_path, value):
    source = write_model(tmp_path / "mine")
    _spoil_weights(source, value)
    with pytest.raises(InputError, match="NaN or infinite"):
        add_model(source)
    with pytest.raises(InputError, match="NaN or infinite"):
        write_weights(_network_with(value), tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()
    assert os.listdir(models) == ["good"]


def test_a_model_that_predicts_no_numbers_is_refused(models, tmp_path):
    """Every weight is finite, the prediction is not."""
    torch.manual_seed(0)
    network = build("msi-cnn", **CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e30)
    source = write_model(tmp_path / "mine", network)
    with pytest.raises(InputError, match="values that are no numbers on a small synthetic volume"):
        add_model(source)
    assert os.listdir(models) == ["good"]


def test_a_model_that_predicts_absurd_numbers_is_refused(models, tmp_path):
    small = {"features": 8, "blocks": 1, "layers": 1, "growth": 4}
    network = build("saint", ami=small, rfn=small)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(30)
    source = write_model(
        tmp_path / "mine",
        network,
        architecture="saint",
        config={"ami": small, "rfn": small},
        intensity="hu+1024",
    )
    with pytest.raises(InputError, match="is plausible"):
        add_model(source)
    assert os.listdir(models) == ["good"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"config": {"depth": 7}}, "cannot be built so"),
        ({"config": {"channels": 10**9, "blocks": 1}}, "cannot be built so"),
        ({"config": {"channels": 10**5, "blocks": 1}}, "do not fit"),
        ({"config": {"channels": "many"}}, "cannot be built so"),
        ({"config": {"channels": -1}}, "cannot be built so"),
        ({"intensity": "hu"}, "says intensity"),
        ({"weights_sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_a_model_that_does_not_fit_leaves_nothing_behind(models, tmp_path, capsys, entries, words):
    source = write_model(tmp_path / "mine", **entries)
    assert main(["models", "add", str(source)]) == BAD_INPUT
    assert words in capsys.readouterr().err
    assert os.listdir(models) == ["good"]


def _copy_half(source: Path, target: Path) -> None:
    content = Path(source).read_bytes()
    Path(target).write_bytes(content[: len(content) // 2])


def test_a_cancelled_copy_leaves_nothing_behind(models, tmp_path, monkeypatch):
    def cancel(source: Path, target: Path) -> None:
        _copy_half(source, target)
        raise Cancelled

    monkeypatch.setattr(adding.shutil, "copyfile", cancel)
    with pytest.raises(Cancelled):
        add_model(write_model(tmp_path / "mine"))
    assert os.listdir(models) == ["good"]


@pytest.mark.parametrize("moment", ["copyfile", "try_model"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_adding_can_be_cancelled_at_any_moment(models, tmp_path, monkeypatch, moment, number):
    place = adding.shutil if moment == "copyfile" else adding
    real = getattr(place, moment)

    def signalled(*arguments: object) -> None:
        os.kill(os.getpid(), number)
        real(*arguments)

    monkeypatch.setattr(place, moment, signalled)
    assert main(["models", "add", str(write_model(tmp_path / "mine"))]) == CANCELLED
    assert os.listdir(models) == ["good"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not copied on this system")
@pytest.mark.parametrize("moment", ["copying", "trying"])
def test_a_killed_copy_is_listed_and_can_be_removed(models, tmp_path, monkeypatch, capsys, moment):
    source = write_model(tmp_path / "mine")

    def die(*arguments: object) -> None:
        if moment == "copying":
            _copy_half(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        place = (adding.shutil, "copyfile") if moment == "copying" else (adding, "try_model")
        monkeypatch.setattr(*place, die)
        add_model(source)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = (name for name in os.listdir(models) if name != "good")
    check_only_that_one_is_unusable(left, "unfinished copy", capsys)
    add_model(source)
    assert find_model("mine").load()


def test_a_broken_folder_in_the_way_is_named(models, tmp_path):
    (models / "mine").mkdir()
    with pytest.raises(InputError, match="models remove mine"):
        add_model(write_model(tmp_path / "mine"))
    remove_model("mine")
    assert add_model(tmp_path / "mine").name == "mine"


# Files of numbers


def test_only_what_the_format_allows_is_read(tmp_path):
    """The safetensors library is the judge: what it refuses we refuse, and what it reads we read alike."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    good = tmp_path / "good.safetensors"
    write_weights(build("msi-cnn", **CONFIG), good)
    content = good.read_bytes()
    length = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + length])
    names = list(table)
    assert read_shapes(good) == {name: entry["shape"] for name, entry in table.items()}

    def changed(name: str, **entries: object) -> dict:
        return {**table, name: {**table[name], **entries}}

    first, second = names[0], names[1]
    begin, end = table[first]["data_offsets"]
    broken = {
        "overlap": changed(second, data_offsets=table[first]["data_offsets"]),
        "reversed": changed(first, data_offsets=[end, begin]),
        "negative": changed(first, data_offsets=[begin - 8, end - 8]),
        "beyond": changed(first, data_offsets=[begin + 10**9, end + 10**9]),
        "fractions": changed(first, data_offsets=[float(begin), float(end)]),
        "truth": changed(first, shape=[True, *table[first]["shape"][1:]]),
        "shape": changed(first, shape=[*table[first]["shape"], 2]),
        "shape negative": changed(first, shape=[-1, *table[first]["shape"][1:]]),
        "shape astronomic": changed(first, shape=[2**62, 2**62, 0]),
        "dtype": changed(first, dtype="F31"),
        "dtype a list": changed(first, dtype=["F32"]),
        "entry a list": {**table, first: []},
        "entry lacks": {**table, first: {"dtype": "F32"}},
        "hole": {name: entry for name, entry in table.items() if name != second},
        "nothing": {},
        "a list": [table],
    }
    cases = {name: _file(json.dumps(value).encode(), content[8 + length :]) for name, value in broken.items()}
    cases["longer"] = content + b"1234"
    cases["shorter"] = content[:-4]
    cases["table not UTF-8"] = _file(b'{"\xff": 1}', content[8 + length :])
    cases["table deep"] = _file(b"[" * 100_000, content[8 + length :])
    cases["table beyond"] = (1 << 62).to_bytes(8, "little") + content[8:]
    cases["empty"] = b""
    cases["few bytes"] = content[:5]
    path = tmp_path / "case.safetensors"
    for case in cases.values():
        path.write_bytes(case)
        with pytest.raises(SafetensorError):
            load_file(path)
        for read in (read_weights, read_shapes):
            with pytest.raises(InputError, match="not a complete safetensors file"):
                read(path)
    # Bytes changed at random: never anything else than an InputError, never more than the library reads.
    generator = np.random.default_rng(0)
    read_by_us = 0
    for _ in range(400):
        spoiled = bytearray(content)
        for place in generator.integers(0, 8 + length, generator.integers(1, 4)):
            spoiled[place] = generator.integers(256)
        path.write_bytes(spoiled)
        try:
            ours = read_weights(path)
        except InputError:
            continue
        theirs = load_file(path)
        read_by_us += 1
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key].to(ours[key].dtype)) for key in ours)
    assert 0 < read_by_us < 400
    # The order of the table is free; a table of contents for people may be there.
    path.write_bytes(
        _file(
            json.dumps({"__metadata__": {"a": "b"}, **dict(reversed(table.items()))}).encode(),
            content[8 + length :],
        )
    )
    for key, tensor in load_file(good).items():
        assert torch.equal(read_weights(path)[key], tensor)


def _file(table: bytes, numbers: bytes) -> bytes:
    return len(table).to_bytes(8, "little") + table + numbers


def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    write_weights(build("msi-cnn", **CONFIG), path)
    before = path.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(_network_with(1.0), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


# Programs


class LeavesATrace(torch.nn.Module):
    """Mixes two pictures, and writes a file: when it is loaded and when it runs."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path + "-loaded")

    def forward(self, img0: torch.Tensor, img1: torch.Tensor, timestep: float) -> torch.Tensor:
        assert img0.size(2) % 32 == 0
        torch.save(img0, self.path + "-run")
        return img0 * (1 - timestep) + img1 * timestep


@pytest.fixture
def program(models, tmp_path) -> tuple[Path, Path]:
    """A folder with a TorchScript model called "program", and one in which it leaves its traces."""
    traces = tmp_path / "traces"
    traces.mkdir()
    source = tmp_path / "program"
    source.mkdir()
    torch.jit.script(LeavesATrace(str(traces / "trace"))).save(str(source / "video.pt"))
    card = {
        "name": "program",
        "architecture": "torchscript",
        "config": {"signature": "rife"},
        "weights": "video.pt",
        "weights_sha256": sha256(source / "video.pt"),
        "gap_mm": [1, 10],
        "intensity": "brain-window",
    }
    (source / "card.json").write_text(json.dumps(card))
    return source, traces


def test_a_program_runs_only_when_it_is_trusted(program, capsys):
    source, traces = program
    assert main(["models", "add", str(source)]) == DONE
    assert "models trust program" in capsys.readouterr().err
    model = find_model("program")
    assert catalogue.needs_consent(model)
    assert main(["models", "list"]) == DONE
    assert "not trusted yet" in capsys.readouterr().out
    assert main(["models", "info", "program"]) == DONE
    with pytest.raises(InputError, match=r"is a program.*models trust program"):
        interpolate(scan(), method="program", device="cpu")
    assert os.listdir(traces) == []
    # Once it is trusted it does what it wants, and it works.
    assert main(["models", "trust", "program"]) == DONE
    assert sorted(os.listdir(traces)) == ["trace-loaded", "trace-run"]
    assert not catalogue.needs_consent(model)
    assert interpolate(scan(), method="program", device="cpu").volume.slice_count == 5
    capsys.readouterr()
    assert main(["models"]) == DONE
    assert "not trusted yet" not in capsys.readouterr().out
    # Trust goes with the model.
    remove_model("program")
    add_model(source)
    assert catalogue.needs_consent(find_model("program"))


def test_trust_is_in_one_file_and_no_other(program, models, tmp_path):
    source, traces = program
    model = add_model(source)
    catalogue.grant_consent(model)
    other = torch.jit.script(LeavesATrace(str(traces / "other")))
    other.save(str(models / "program" / "video.pt"))
    with pytest.raises(InputError, match="SHA-256"):
        find_model("program").load()
    with pytest.raises(InputError, match="SHA-256"):
        catalogue.grant_consent(model)
    card = json.loads((models / "program" / "card.json").read_text())
    card["weights_sha256"] = sha256(models / "program" / "video.pt")
    (models / "program" / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="models trust"):
        find_model("program").load()
    assert os.listdir(traces) == []


def test_what_remembers_trust_may_be_spoiled(program, models):
    source, _ = program
    model = add_model(source)
    catalogue.grant_consent(model)
    (models / consent._FILE).write_bytes(b"\xff\x00 nonsense\n" + b"a" * 63)
    assert catalogue.needs_consent(model)
    catalogue.grant_consent(model)
    assert not catalogue.needs_consent(model)
    (models / consent._FILE).unlink()
    (models / consent._FILE).mkdir()
    assert catalogue.needs_consent(model)


def test_trust_that_is_not_needed_or_not_deserved(program, models, capsys):
    assert main(["models", "trust", "good"]) == BAD_INPUT
    assert "needs no trust" in capsys.readouterr().err
    source, _ = program
    model = add_model(source)
    card = json.loads((models / "program" / "card.json").read_text())
    card["config"] = {"multiple": 7}  # called so it fails
    (models / "program" / "card.json").write_text(json.dumps(card))
    assert main(["models", "trust", "program"]) == BAD_INPUT
    assert "fails on a small synthetic volume" in capsys.readouterr().err
    assert catalogue.needs_consent(model)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a script", "archive"])
def test_a_program_is_looked_at_from_outside(program, content):
    source, _ = program
    path = source / "video.pt"
    if content == "archive":
        torch.save({"weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    card = json.loads((source / "card.json").read_text())
    card["weights_sha256"] = sha256(path)
    (source / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="TorchScript file"):
        add_model(source)


@pytest.mark.parametrize("config", [{"script": 5}, {"intensity": "hu"}, {"signature": ["rife"]}, {"self": 1}])
def test_a_wrong_config_of_a_program_is_one_sentence(program, models, config):
    source, _ = program
    card = json.loads((source / "card.json").read_text())
    (source / "card.json").write_text(json.dumps({**card, "config": config}))
    add_model(source)
    catalogue.grant_consent(find_model("program"))
    with pytest.raises(InputError, match="cannot be built so"):
        find_model("program").load()
