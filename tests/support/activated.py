"""python activated.py DESCRIPTORS NAMES COMMAND...: execute the command as systemd does, with sockets from descriptor 3 on.

A script of its own, because LISTEN_PID has to be the process that the command becomes. DESCRIPTORS are numbers, NAMES is
LISTEN_FDNAMES, both with colons between. LISTEN_PID in the environment stays as it is, for a command that is not the one meant.
"""

import fcntl
import os
import sys

given = [int(number) for number in sys.argv[1].split(":")]
# Out of the way first: one of them may be where another one has to go.
aside = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in given]
for number in given:
    os.close(number)
for number, descriptor in enumerate(aside, 3):
    os.dup2(descriptor, number)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ["LISTEN_FDS"] = str(len(given))
if sys.argv[2]:
    os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
