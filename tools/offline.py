"""Run a command with no network but the loopback, which Jupyter's kernels need.

    python tools/offline.py COMMAND [ARGUMENT ...]

On Linux the command gets a network namespace of its own. Where that is not allowed (some
containers, other systems) every proxy variable points to a closed port instead, and a line says so.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
CLOSED = "http://127.0.0.1:9"  # the discard port


def leave_network() -> None:
    """Move this process into an empty network namespace; OSError where it may not."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNET if user == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if not hasattr(libc, "unshare") or libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if user != 0:  # keep the same user inside, or files would belong to nobody
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # lift the loopback
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | IFF_UP, b""))


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        leave_network()
        print("Network: none (a namespace of its own)", file=sys.stderr, flush=True)
    except (OSError, AttributeError) as error:
        for name in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"):
            os.environ[name] = os.environ[name.upper()] = CLOSED
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1"
        print(f"Network: proxies to a closed port ({error})", file=sys.stderr, flush=True)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
