import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from brats_ablate.errors import RunFailed
from brats_ablate.training import checkpoint
from brats_ablate.training.checkpoint import CheckpointWriter

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


def test_a_folder_that_vanished_is_not_created_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    with pytest.raises(FileNotFoundError, match=r"run/checkpoints/last\.pt"):
        checkpoint.save({"model": {}}, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("recorded", "expected", "ranks"),
    [
        ({"lr": 1}, {"lr": 1}, 1),
        ({"lr": 1}, {"lr": 1, "trainer.ranks": 2}, 2),  # as version 0.1 wrote it
        ({"lr": 1, "trainer.ranks": 2}, {"lr": 1, "trainer.ranks": 2}, 2),
    ],
)
def test_the_state_of_the_same_run_is_continued(recorded: dict[str, int], expected: dict[str, int], ranks: int) -> None:
    checkpoint.require_identity({"identity": recorded, "sums_of_ranks": [{}] * ranks}, expected, Path("last.pt"))


def test_the_state_of_another_run_is_refused() -> None:
    saved = {"identity": {"lr": 1, "seed": 0}, "sums_of_ranks": [{}]}
    with pytest.raises(RunFailed, match=r"a\.pt is the state of a different configuration \(lr: 1 -> 2\); delete it"):
        checkpoint.require_identity(saved, {"lr": 2, "seed": 0}, Path("a.pt"))
    with pytest.raises(RunFailed, match=r"trainer\.ranks: 1 -> 4"):
        checkpoint.require_identity(saved, {"lr": 1, "seed": 0, "trainer.ranks": 4}, Path("a.pt"))


@pytest.fixture
def writer() -> Iterator[CheckpointWriter]:
    writer = CheckpointWriter()
    yield writer
    writer.close()


@pytest.fixture
def held(writer: CheckpointWriter) -> threading.Event:
    """Whatever is written waits until this is set."""
    event = threading.Event()
    writer.run(lambda: None if event.wait(20) else pytest.fail("never set"))
    return event


def test_the_writer_writes_the_state_at_the_call(
    tmp_path: Path, writer: CheckpointWriter, held: threading.Event
) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    best = [[1, 0.5]]
    model(torch.ones(2)).backward()
    optimizer.step()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    moment = optimizer.state[model.weight]["exp_avg"].clone()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "position": {"best": best}}
    writer.save(content, tmp_path / "last.pt")
    optimizer.step()
    best.append([2, 0.6])
    held.set()
    writer.wait()
    written = checkpoint.load(tmp_path / "last.pt")
    assert written["position"] == {"best": [[1, 0.5]]}
    assert all(torch.equal(written["model"][name], value) for name, value in expected.items())
    assert not torch.equal(expected["weight"], model.weight)
    assert torch.equal(written["optimizer"]["state"][0]["exp_avg"], moment)
    model.load_state_dict(written["model"])
    optimizer.load_state_dict(written["optimizer"])


def test_the_writer_keeps_the_versions_of_a_state_dict(tmp_path: Path, writer: CheckpointWriter) -> None:
    state = torch.nn.Sequential(torch.nn.BatchNorm3d(2)).state_dict()
    checkpoint.save({"model": state}, tmp_path / "plain.pt")
    writer.save({"model": state}, tmp_path / "last.pt")
    writer.wait()
    plain, written = (checkpoint.load(tmp_path / name)["model"] for name in ("plain.pt", "last.pt"))
    assert list(written) == list(plain)
    assert written._metadata == plain._metadata
    assert written._metadata["0"]["version"] == torch.nn.BatchNorm3d._version


def test_the_writer_keeps_the_order_and_few_writes_wait(
    tmp_path: Path, writer: CheckpointWriter, held: threading.Event
) -> None:
    order: list[str] = []
    writer.save({"step": 1}, tmp_path / "last.pt")
    writer.run(lambda: order.append(f"after {checkpoint.load(tmp_path / 'last.pt')['step']}"))

    writer.run(lambda: None)

    def save_again() -> None:
        writer.save({"step": 2}, tmp_path / "last.pt")  # one too many: waits for the first
        order.append("called")

    training = threading.Thread(target=save_again)
    training.start()
    training.join(0.2)
    assert training.is_alive()
    assert order == []
    held.set()
    training.join(20)
    writer.wait()
    assert sorted(order) == ["after 1", "called"]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 2


def refuse_to_write(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ask", ["wait", "save"])
def test_a_full_disk_is_reported_by_the_next_call_with_the_name_of_the_file(
    ask: str, tmp_path: Path, writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"

    def next_calls() -> None:
        for _ in range(4):
            writer.wait() if ask == "wait" else writer.save({"step": 3}, path)

    checkpoint.save({"step": 1}, path)
    with monkeypatch.context() as full:
        full.setattr(torch, "save", refuse_to_write)
        writer.save({"step": 2}, path)
        writer.run(lambda: None)
        with pytest.raises(OSError, match="No space left on device") as raised:
            next_calls()
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_closing_finishes_what_waits(tmp_path: Path, writer: CheckpointWriter) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go_on.wait(20)
        checkpoint.save({"step": 1}, tmp_path / "begun.pt")

    writer.run(write)
    writer.save({"step": 2}, tmp_path / "waiting.pt")
    assert begun.wait(20)
    threading.Timer(0.05, go_on.set).start()
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["begun.pt", "waiting.pt"]
    assert not [t for t in threading.enumerate() if t.name.startswith("checkpoint")]
    with pytest.raises(RuntimeError, match="shutdown"):
        writer.run(write)


def test_nothing_is_written_after_a_failure(tmp_path: Path, writer: CheckpointWriter) -> None:
    """What follows depends on it: the status counts saved epochs, and surpassed checkpoints are deleted."""

    def fail() -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    writer.run(fail)
    writer.run((tmp_path / "status.json").touch)
    writer.close()
    assert not (tmp_path / "status.json").exists()
