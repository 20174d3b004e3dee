import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from brats_ablate.errors import RunFailed
from brats_ablate.training import checkpoint

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from brats_ablate.training import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # writing fails beyond that, as on a full disk
try:
    checkpoint.save({"model": {"w": torch.ones(100_000)}}, Path(sys.argv[1]))
except OSError as error:
    print(error.errno, error.filename)
"""


def test_round_trip(tmp_path: Path) -> None:
    content = {"model": {"w": torch.arange(4.0)}, "position": {"best": [[3, 0.5]], "sums": {"loss": 1.5}}}
    checkpoint.save(content, tmp_path / "last.pt")
    found = checkpoint.load(tmp_path / "last.pt")
    assert torch.equal(found["model"]["w"], torch.arange(4.0))
    assert found["position"] == content["position"]


def test_a_full_disk_leaves_the_previous_checkpoint_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save({"model": {"w": torch.zeros(3)}}, path)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EFBIG), str(path)]
    assert torch.equal(checkpoint.load(path)["model"]["w"], torch.zeros(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_lost_file_system_is_not_taken_for_a_broken_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save({"model": {}}, path)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(OSError, match="Stale file handle") as told:
        checkpoint.load(path)
    assert (told.value.errno, told.value.filename) == (errno.ESTALE, str(path))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(RunFailed, match=r"last\.pt is damaged or no checkpoint"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"gone\.pt does not exist"):
        checkpoint.load(tmp_path / "gone.pt")


def test_weights_of_another_architecture_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoint.save({"model": torch.nn.Conv3d(5, 8, 3).state_dict()}, path)
    with pytest.raises(
        RunFailed, match=r"weight is \(8, 5, 3, 3, 3\) in the file and \(8, 4, 3, 3, 3\) in the network"
    ):
        checkpoint.load_weights(path, torch.nn.Conv3d(4, 8, 3))
