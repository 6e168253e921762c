import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT
from tests.models.automl import pool_rules
from tfdl.engine import errors
from tfdl.models.automl.search import pool as pool_lib
from tfdl.models.automl.search.pool import LocalPool


@pytest.mark.parametrize("rule", pool_rules.RULES, ids=lambda rule: rule.__name__)
def test_a_local_pool_keeps_the_rules(rule):
    rule(LocalPool)


def test_workers_that_die_at_once_are_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(pool_lib, "_WORKER", "no.such.module")
    with LocalPool({"name": "sleep"}, workers=1, logs=tmp_path) as pool:
        with pytest.raises(errors.UserError, match=r"exited with 1.*worker-0\.log"):
            pool_rules.collect(pool, 1)
    assert "No module named" in (tmp_path / "worker-0.log").read_text()


def test_workers_keep_to_their_threads():
    limits = pool_lib._environment(3, None)
    assert limits["OMP_NUM_THREADS"] == limits["TF_NUM_INTRAOP_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in limits or limits == pool_lib._environment(3, 0)


def test_workers_spread_over_the_gpus_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert pool_lib._environment(1, 1)["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert pool_lib._environment(1, 1)["CUDA_VISIBLE_DEVICES"] == "1"


def test_workers_end_with_their_driver():
    code = (
        "import time\n"
        "from tfdl.models.automl.search.pool import LocalPool\n"
        "pool = LocalPool({'name': 'sleep', 'hang': 9}, workers=2)\n"
        "pool.submit(0, (1,), 0)\n"
        "print(pool.wait(60).result['pid'], flush=True)\n"
        "pool.submit(1, (9,), 0)\n"
        "pool.submit(2, (9,), 0)\n"
        "time.sleep(600)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    worker = int(driver.stdout.readline())
    assert _command(worker)
    driver.kill()
    driver.communicate()
    deadline = time.monotonic() + 20
    while _command(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _command(worker)


def _command(pid: int) -> bool:
    """Tells whether a process is there and is one of our workers."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"search.worker" in file.read()
    except OSError:
        return False
