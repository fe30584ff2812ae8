"""A Ray cluster that a study starts for itself lets nobody in who has not its token."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("ray")

from commands import ENVIRONMENT, PATIENCE

pytestmark = pytest.mark.slow

START = """
import os, sys
from tvt.study.executors.ray import Cluster
cluster = Cluster(None)
print(cluster._address, flush=True)
sys.stdin.readline()
cluster.leave()
print(sorted(name for name in os.environ if name.startswith("RAY_AUTH")), flush=True)
"""
ENTER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("inside", ray.get(ray.remote(lambda: 7).remote()))
"""


def test_a_second_process_is_refused_at_the_outer_address() -> None:
    clean = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("RAY_")}
    with subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean
    ) as own:
        assert own.stdin is not None
        assert own.stdout is not None
        address = own.stdout.readline().strip()
        assert address
        results = [
            subprocess.run(
                [sys.executable, "-c", ENTER, address],
                capture_output=True,
                text=True,
                env={**clean, **more},
                timeout=PATIENCE,
                check=False,
            )
            for more in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
        ]
        own.stdin.write("\n")
        own.stdin.flush()
        rest = own.stdout.read()
    assert own.returncode == 0
    assert rest.strip() == "[]", "the token goes with the cluster"
    for result in results:
        assert result.returncode != 0
        assert "inside" not in result.stdout
        assert "uthenticat" in result.stderr or "nauthoriz" in result.stderr, result.stderr


def test_a_mode_that_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvt.study.executors import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    variables: dict[str, str] = {}
    ray._lock_up(variables)
    assert variables == {}
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
