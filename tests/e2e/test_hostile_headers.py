"""NIfTI files that lie about their size, their position or themselves, through whole commands in bounded memory.

Each hostile file takes the place of one file of a case. The command names it in one sentence and handles the others.
"""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scaffolding import CommandLine

pytestmark = pytest.mark.slow
Bytes = Callable[[bytes], bytes]
MEMORY = 4 << 30
"""Address space of a command: much of it is libraries, but no 8 GiB fit in."""
LIMITED = (
    f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY})); "
    "from brats_ablate.__main__ import main; main()"
)


def with_header(**fields: object) -> Bytes:
    """Set header fields as they are, also those that nibabel would correct."""

    def change(content: bytes) -> bytes:
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return header.binaryblock + content[348:]

    return change


def with_extension(size: int) -> Bytes:
    """Announce a header extension of `size` bytes, in a file that has room for 16."""

    def change(content: bytes) -> bytes:
        announced = b"\1\0\0\0" + np.array([size, 4], "<i4").tobytes() + bytes(8)
        return with_header(vox_offset=368)(content)[:348] + announced + content[352:]

    return change


def bomb(content: bytes) -> bytes:
    """Follow the file, gzipped, by 8 GiB of zeros in as many kilobytes."""
    return gzip.compress(content) + 128 * gzip.compress(bytes(64 << 20), compresslevel=9)


def dims(*sizes: int) -> Bytes:
    return with_header(dim=[len(sizes), *sizes, *(1,) * (7 - len(sizes))])


HARMLESS: tuple[Bytes, ...] = (with_extension(16), bytes)
"""Written as plain content, to show that it is not this that is refused."""
HOSTILE: dict[str, Bytes] = {
    "huge_dims": dims(32767, 32767, 32767),
    "negative_dims": dims(-32, 32, 24),
    "no_dims": with_header(dim=[0] * 8),
    "zero_dims": dims(0, 32, 24),
    "seven_dims": dims(32, 32, 24, 9, 9, 9, 9),
    "nan_affine": with_header(sform_code=1, srow_x=np.nan),
    "infinite_affine": with_header(sform_code=1, srow_y=np.inf),
    "offset_beyond_the_file": with_header(vox_offset=1e9),
    "offset_in_the_header": with_header(vox_offset=-4096),
    "nan_offset": with_header(vox_offset=np.nan),
    "unknown_type": with_header(datatype=31000, bitpix=16),
    "huge_extension": with_extension(2**31 - 16),
    "negative_extension": with_extension(-16),
    "not_16_extension": with_extension(17),
}


def pipe(file: Path) -> None:
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


@pytest.fixture(scope="module")
def hostile(phantom_work: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of what is wrong → file, in a folder of cases of which five are intact."""
    raw = tmp_path_factory.mktemp("hostile")
    sources = sorted(path for path in (phantom_work / "phantom" / "raw").iterdir() if path.is_dir())
    made: list[tuple[str, Callable[[Path, bytes], object]]] = []
    for name, change in HOSTILE.items():
        # As gzip, whose content is inflated, and as the plain content, which may have that name too.
        made.append((name, lambda file, content, change=change: file.write_bytes(gzip.compress(change(content)))))
        made.append((f"{name}_plain", lambda file, content, change=change: file.write_bytes(change(content))))
    made.append(("bomb", lambda file, content: file.write_bytes(bomb(content))))
    made += [("pipe", lambda file, _: pipe(file)), ("endless", lambda file, _: endless(file))]
    files = {}
    for number in range(len(made) + 5):
        source = sources[number % len(sources)]
        folder = raw / f"BraTS2021_{number:05d}"
        folder.mkdir()
        for file in source.iterdir():
            shutil.copy(file, folder / file.name.replace(source.name, folder.name))
        if number < len(made):
            name, write = made[number]
            file = folder / f"{folder.name}_{'seg' if number % 4 == 3 else 't1ce'}.nii.gz"
            content = gzip.decompress(file.read_bytes())
            file.unlink()
            write(file, content)
            files[name] = file
        elif number < len(made) + len(HARMLESS):
            file = folder / f"{folder.name}_t1ce.nii.gz"
            file.write_bytes(HARMLESS[number - len(made)](gzip.decompress(file.read_bytes())))
    return files


def test_prepare_lists_each_hostile_file_and_prepares_the_others(hostile: dict[str, Path], tmp_path: Path) -> None:
    raw = next(iter(hostile.values())).parents[1]
    command_line = CommandLine(tmp_path, environment={"BRATS_ABLATE_WORK": "work"}, program=("-c", LIMITED))
    done = command_line.run("job=prepare", "data=phantom", "data.phantom=null", f"data.raw={raw}", "job.workers=2")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("brats-ablate: ")]
    assert f"{len(hostile)} of {len(hostile) + 5} cases are invalid" in sentence
    prepared = tmp_path / "work" / "phantom" / "prepared"
    assert len(list((prepared / "cases").iterdir())) == 5
    with (prepared / "problems.csv").open() as stream:
        reason_of = {row["case"]: row["reason"] for row in csv.DictReader(stream)}
    assert not [
        (name, reason_of[file.parent.name])
        for name, file in hostile.items()
        if str(file) not in reason_of[file.parent.name]
    ]
    assert not [reason for reason in reason_of.values() if "\n" in reason or "emory" in reason]
