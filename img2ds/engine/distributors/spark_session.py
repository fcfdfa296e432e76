"""The Spark session to run workers in.

PySpark is imported here alone. A session that is active is used; else one is made as spark-submit,
PYSPARK_SUBMIT_ARGS or spark-defaults.conf say, and without these on this machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.engine.cores import usable_cores


def open_session(count: int | None) -> tuple[Any, bool]:
    """The session that is active, or a new one; whether it is new.

    Raises:
        UsageError: none can be made.
    """
    from pyspark.errors import PySparkException, PySparkRuntimeError
    from pyspark.sql import SparkSession

    session: Any = SparkSession.getActiveSession()
    started = session is None
    if started:
        builder: Any = SparkSession.builder.appName("img2ds")
        if not _configured():
            cores = count or usable_cores()
            # Let a task fail often before it fails the job: workers that die are not its fault.
            builder = builder.master(f"local[{cores},1000]")
            for name in ("spark.driver.host", "spark.driver.bindAddress"):
                builder = builder.config(name, "127.0.0.1")
            for name in ("spark.ui.enabled", "spark.ui.showConsoleProgress"):
                builder = builder.config(name, "false")
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        try:
            session = builder.getOrCreate()
        except (PySparkException, PySparkRuntimeError, OSError) as error:
            words = str(error).partition("\n")[0]
            raise UsageError(
                f"cannot start Spark: {words} (it needs Java 17 or later: JAVA_HOME, or java on "
                "the PATH)"
            ) from None
    if not hasattr(session, "_sc"):
        raise UsageError(
            "this is a Spark Connect session, which cannot run img2ds workers: use a session with "
            "a SparkContext (spark-submit, or a --master of its own)"
        )
    if started and not _configured():
        session.sparkContext.setLogLevel("FATAL")  # img2ds itself reports workers that die
    return session, started


def _configured() -> bool:
    """Return whether a Spark master is configured."""
    if "PYSPARK_GATEWAY_PORT" in os.environ or "SPARK_REMOTE" in os.environ:
        return True
    if "master" in os.environ.get("PYSPARK_SUBMIT_ARGS", ""):
        return True
    home = os.environ.get("SPARK_HOME")
    folder = os.environ.get("SPARK_CONF_DIR", os.path.join(home, "conf") if home else "")
    defaults = Path(folder, "spark-defaults.conf")
    return bool(folder) and defaults.is_file() and "spark.master" in defaults.read_text()
