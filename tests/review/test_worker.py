import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from review.worker import Worker

# A process that starts a worker, says which, and waits.
SERVER = """
import os, time
from review.worker import Worker
if __name__ == "__main__":
    print(Worker().do(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_worker_is_another_process() -> None:
    worker = Worker()
    assert worker.do(os.getpid).result() != os.getpid()
    busy = worker.do(time.sleep, 600)
    worker.stop()
    assert busy.cancelled() or busy.exception() is not None


def test_a_worker_ends_with_a_killed_server(tmp_path: Path) -> None:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        worker = psutil.Process(int(server.stdout.readline()))
        server.kill()
    worker.wait(60)
