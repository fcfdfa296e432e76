"""Clusters that tests share, and how the tests are split.

Ray and Spark run on loopback; each is started once a session and only when a test asks for it.
`--quick` leaves out the tests that need a server, a cluster, a browser or a training.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from img2ds.engine.distributors.contract import Distributor
from img2ds.engine.distributors.factory import open_distributor

# A busy machine must not fail a test for the time that an example takes.
hypothesis.settings.register_profile("img2ds", deadline=None)
hypothesis.settings.load_profile("img2ds")

ROOT = Path(__file__).parents[1]

#: Cores of the Spark worker: for the application of this process, and for one of a command.
SPARK_CORES = 4
_LOOPBACK = "127.0.0.1"


#: Fixtures that start a server, a cluster or a browser, or train a model.
COSTLY_FIXTURES = {
    "ray_address", "spark_master", "distributor_name", "cluster", "tiny_model", "chain", "original",
    "s3",
}  # fmt: skip
#: Modules that do: a test module that uses something of theirs is left out by `--quick`.
COSTLY_MODULES = (
    "tests.attack.one_by_one", "tests.contract.fetcher_setups", "tests.laion.web",
    "tests.laion.shape_web",
    "tests.server.background", "tests.server.sample_web", "tests.storage.busy_server",
)  # fmt: skip
#: Folders whose tests share a costly fixture: one process runs all of them.
SHARED_FOLDERS = ("tests/laion/web", "tests/laion/knn", "tests/manage", "tests/storage")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="skip tests that need servers or models")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--quick` does not want; keep together what shares a fixture."""
    if config.getoption("--quick"):
        costly = [item for item in items if _is_costly(item)]
        config.hook.pytest_deselected(items=costly)
        items[:] = [item for item in items if item not in set(costly)]
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _is_costly(item: pytest.Item) -> bool:
    if COSTLY_FIXTURES & set(getattr(item, "fixturenames", ())):
        return True
    if item.get_closest_marker("slow") is not None:
        return True
    used = vars(getattr(item, "module", item)).values()
    classes = [base for value in used if isinstance(value, type) for base in value.__mro__]
    homes = {str(getattr(value, "__module__", "")) for value in (*used, *classes)}
    return any(home.startswith(COSTLY_MODULES) for home in homes)


def _group(item: pytest.Item) -> str:
    """The tests that one of `pytest -n` processes has to run: by cluster, folder or file."""
    wanted = set(getattr(item, "fixturenames", ()))
    if wanted & {"ray_address", "spark_master", "distributor_name", "cluster"}:
        return "clusters"
    if "chain" in wanted:
        return "chain"
    path = item.nodeid.partition("::")[0]
    return next((folder for folder in SHARED_FOLDERS if path.startswith(folder)), path)


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> Iterator[None]:
    """Remove this machine's proxy settings: tests set their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the cache of block lists away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2DS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of a Ray of two CPUs, to which this process is connected.

    It believes that there are two GPUs as well.
    """
    ray: Any = pytest.importorskip("ray", reason="ray is not installed")
    folder = tempfile.mkdtemp(prefix="r")  # short: Ray makes sockets in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        ray.init(
            address="local", num_cpus=2, num_gpus=2, include_dashboard=False, logging_level="error",
            log_to_driver=False, _node_ip_address=_LOOPBACK, _temp_dir=folder,
        )  # fmt: skip
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def spark_master() -> Iterator[str]:
    """The URL of a Spark master with one worker; this process has a session of two cores."""
    pyspark: Any = pytest.importorskip("pyspark", reason="pyspark is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("there is no Java")
    from pyspark.sql import SparkSession

    home = Path(pyspark.__file__).parent
    folder = tempfile.mkdtemp(prefix="spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_HOME", str(home))
        patch.setenv("SPARK_LOCAL_IP", _LOOPBACK)
        patch.setenv("SPARK_LOCAL_DIRS", folder)
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", worker_path())
        place = ["--host", _LOOPBACK, "--webui-port", "0"]
        with _daemon(home, "master.Master", [*place, "--port", "0"], r"at (spark://\S+)") as url:
            size = ["--cores", str(SPARK_CORES), "--memory", "3g", "--work-dir", folder]
            with _daemon(home, "worker.Worker", [*place, *size, url], r"registered with (\S+)"):
                builder: Any = SparkSession.builder
                for name, value in spark_settings(url).items():
                    builder = builder.config(name, value)
                session = builder.getOrCreate()
                session.sparkContext.setLogLevel("FATAL")
                yield url
                session.stop()
    shutil.rmtree(folder, ignore_errors=True)


def worker_path() -> str:
    """The PYTHONPATH of workers in which images can be fatal: see `fatal_decoder`."""
    here = (str(ROOT / "tests" / "server" / "fatal_decoder"), str(ROOT))
    return os.pathsep.join(filter(None, (*here, os.environ.get("PYTHONPATH"))))


def spark_settings(master: str) -> dict[str, str]:
    """The settings of an application that uses half the cluster."""
    return {
        "spark.master": master,
        "spark.cores.max": str(SPARK_CORES // 2),
        "spark.executor.memory": "1g",
        "spark.driver.host": _LOOPBACK,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


@contextmanager
def _daemon(home: Path, name: str, arguments: list[str], ready: str) -> Iterator[str]:
    """A process of Spark's; gives what the group of `ready` matched in its log."""
    process = subprocess.Popen(
        [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if match := re.search(ready, line):
                break
        else:
            raise AssertionError(f"Spark's {name} did not start:\n{''.join(seen)}")
        # Nothing reads the rest: logging must not fill the pipe.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        process.stderr.close()
        yield match[1]
    finally:
        process.kill()
        process.wait()
    drain.wait()


@pytest.fixture(params=["multiprocessing", "ray", "pyspark"])
def distributor_name(request: pytest.FixtureRequest) -> str:
    """The name of each distributor in turn, with its cluster there."""
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_address")
    elif name == "pyspark":
        request.getfixturevalue("spark_master")
    return name


@pytest.fixture
def distributor(distributor_name: str) -> Iterator[Distributor]:
    """Each distributor in turn, of two workers."""
    with open_distributor(distributor_name, 2) as distributor:
        yield distributor
