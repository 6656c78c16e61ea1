"""Kills or holds a stage at a chosen moment: PYTHONPATH brings this file into every process of a run.

FAULT is "<script> <module>:<class>.<method> <n> <kill|hold>": the n-th call in a process that runs the script never
returns. A held process first leaves the file `held` in its working folder, and goes on where that file is removed.
"""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

script, target, count, fault = os.environ["FAULT"].split()
if any(argument.endswith(script) for argument in sys.orig_argv):
    module, _, name = target.partition(":")
    owner, method = name.split(".")
    patched = getattr(importlib.import_module(module), owner)
    original, left = getattr(patched, method), [int(count)]

    def replaced(*arguments, **options):
        left[0] -= 1
        if left[0] == 0 and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] == 0 and fault == "hold":
            Path("held").touch()
            until = time.monotonic() + 600
            while Path("held").exists() and time.monotonic() < until:
                time.sleep(0.1)
        return original(*arguments, **options)

    setattr(patched, method, replaced)
