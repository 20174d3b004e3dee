from __future__ import annotations

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.ranks import local_rank, local_world_size, rank, world_size


def test_a_process_of_its_own_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), world_size()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (rank(), world_size()) == (1, 2)


@pytest.mark.parametrize(
    ("size", "number", "sentence"),
    [
        ("x", None, r"^WORLD_SIZE=x in the environment is not a number; unset WORLD_SIZE$"),
        ("2", "x", r"^RANK=x in the environment is not a number; unset RANK$"),
        ("2", None, r"^WORLD_SIZE=2 in the environment does not say which of the processes this is; unset WORLD_SIZE"),
        ("2", "2", r"^WORLD_SIZE=2 RANK=2 in the environment does not say"),
        ("0", None, r"^WORLD_SIZE=0 in the environment does not say"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_one_sentence(
    size: str, number: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    if number is not None:
        monkeypatch.setenv("RANK", number)
    with pytest.raises(ConfigError, match=sentence):
        world_size()


def test_the_place_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (local_rank(), local_world_size()) == (0, 1)
    for name, read in (("LOCAL_RANK", local_rank), ("LOCAL_WORLD_SIZE", local_world_size)):
        monkeypatch.setenv(name, "3")
        assert read() == 3
        monkeypatch.setenv(name, "x")
        with pytest.raises(ConfigError, match=f"^{name}=x in the environment is not a number; unset {name}$"):
            read()
