import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brats_ablate.errors import RunFailed
from brats_ablate.runs.training_folder import TrainingFolder

LOCK = """
import sys, time
from pathlib import Path
from brats_ablate.runs.training_folder import TrainingFolder
with TrainingFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_run_is_locked_until_its_process_is_killed(tmp_path: Path) -> None:
    lock_owner = subprocess.Popen([sys.executable, "-c", LOCK, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert lock_owner.stdout.readline() == "locked\n"
    folder = TrainingFolder(tmp_path)
    assert folder.is_locked()
    with pytest.raises(RunFailed, match=f"process {lock_owner.pid} on"), folder.lock(patience_s=0.1):
        pass
    lock_owner.send_signal(signal.SIGKILL)
    lock_owner.wait()
    assert not folder.is_locked()
    with folder.lock():
        assert folder.is_locked()
