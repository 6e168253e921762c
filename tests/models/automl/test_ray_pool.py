"""The rules of pools on a Ray cluster of this machine.

They need the extra: `pip install 'tfdl[ray]'`. Most of the minute they take is Ray's
starting of processes.
"""

import importlib.util
import os
import sys

import pytest

from tests.helpers import ROOT, run_python
from tests.models.automl import pool_rules
from tfdl.engine import errors
from tfdl.models.automl.search import ray_pool
from tfdl.models.automl.search.ray_pool import RayPool

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra ray"
)


@pytest.fixture(scope="module")
def address():
    """The address of a cluster whose machines have tfdl, this process connected."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        context = ray.init(
            num_cpus=3,
            include_dashboard=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
        yield context.address_info["gcs_address"]
        ray.shutdown()


@pytest.mark.parametrize("rule", pool_rules.RULES, ids=lambda rule: rule.__name__)
def test_a_ray_pool_keeps_the_rules(rule, address):
    rule(RayPool)


def test_a_pool_joins_a_cluster_by_its_address(address):
    code = (
        "import sys\n"
        "from tfdl.models.automl.search.ray_pool import RayPool\n"
        "with RayPool({'name': 'sleep'}, workers=1, address=sys.argv[1]) as pool:\n"
        "    pool.submit(7, (1, 2), 0)\n"
        "    print(pool.wait(60))\n"
    )
    done = run_python("-c", code, address)
    assert done.returncode == 0, done.stderr
    assert "Event(trial=7, result={'reward': 1.5" in done.stdout


def test_a_cluster_that_is_not_there_is_one_line():
    for address in ("127.0.0.1:1", "nowhere"):
        with pytest.raises(errors.UserError, match=f"no Ray cluster at {address}"):
            # This process is connected already: only the address is looked at.
            ray_pool._check_address(address)
