"""A command of laion that is killed, once, when it is about to publish a file.

Arguments: the name of the file, a file that notes the kill, and the command.
"""

from __future__ import annotations

KILLS = """
import os, signal, sys
import img2ds.storage.output as output

publish = output.OutputFolder.publish
def killed(folder, name):
    if name == sys.argv[1] and not os.path.exists(sys.argv[2]):
        open(sys.argv[2], "w").close()
        os.killpg(0, signal.SIGKILL)
    publish(folder, name)
output.OutputFolder.publish = killed

# In this process, so that what is killed is what publishes.
def in_process(*_, **__):
    from img2ds.engine.distributors.contract import Session
    class Here(Session):
        spans_machines = False
        def stream(self, worker, tasks, stopping):
            emitted = []
            worker(tasks, emitted.append)
            yield from emitted
    return Here()
import img2ds.engine.build
img2ds.engine.build.open_distributor = in_process
from laion import cli
sys.exit(cli.run(sys.argv[3:]))
"""
