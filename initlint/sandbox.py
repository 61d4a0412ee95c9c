"""What a worker gives up, by the kernel's word, before it looks at a file from a stranger.

Three things that need no privilege and cost less than a millisecond (Linux): no-new-privileges; Landlock, which leaves
the files named to be read and nothing to be written; seccomp, which takes the network, other programs and the calls
that kernel exploits begin with. What a kernel, an architecture or a container does not offer is left out, and said.
All of it holds for the process's whole life and for its children; threads that run already are not reached, so it comes
before numpy is imported.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["FULL", "MOST_ROOTS", "Cage", "confine", "folders_of"]

FULL = ("no-new-privileges", "landlock", "seccomp")

NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # of prctl and seccomp
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL  # rights that a file, not a folder, can carry
FILE_RIGHTS = (0, 13, 14, 15, 15, 16)  # bits of file rights by version of the interface
MOST_ROOTS = 256
SYSTEM = (
    "/usr", "/lib", "/lib64", "/opt", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/sys/vm", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom",
)  # fmt: skip
# Numbers of the calls that are refused: (x86-64, aarch64). `execve` and what follows it stay where a probe is to run.
CALLS = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "sendto": (44, 206),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268), "unshare": (272, 97),
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425), "open_by_handle_at": (304, 265),
    "swapon": (167, 224), "reboot": (169, 142), "syslog": (103, 116), "quotactl": (179, 60), "acct": (163, 89),
}  # fmt: skip
PROGRAMS = {"execve": (59, 221), "execveat": (322, 281)}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
X32 = 0x40000000
LOAD, EQUAL, ATLEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # denied calls fail with EPERM


class Cage(msgspec.Struct, frozen=True):
    """What a worker may do.

    `readable` are the files and folders that may be read beside Python and the system's libraries; None leaves reading
    as it is. A `probe` starts a program of its own and keeps a temporary folder. Where all of it is `required`, a worker
    that cannot have it refuses every model.
    """

    readable: tuple[str, ...] | None = None
    probe: bool = False
    required: bool = False

    def to_bytes(self) -> bytes:
        """As it is sent to the worker."""
        flags = bytes((self.readable is not None, self.probe, self.required))
        return flags + b"\0".join(map(os.fsencode, self.readable or ()))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Cage":
        """As it arrives there."""
        named, probe, required = content[:3]
        readable = tuple(os.fsdecode(item) for item in content[3:].split(b"\0") if item)
        return cls(readable if named else None, bool(probe), bool(required))


def folders_of(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders that files lie in, by their names and behind links."""
    places = (place for path in paths for place in (os.path.abspath(path), os.path.realpath(path)))
    return tuple(dict.fromkeys(map(os.path.dirname, places)))


def confine(cage: Cage) -> tuple[str, ...]:
    """Give up what an analysis does not need; the names of what holds from now on."""
    if sys.platform != "linux" or os.environ.get("INITLINT_NO_SANDBOX"):
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return ()
    held = ["no-new-privileges"]
    if _landlock(libc, cage.readable, probe=cage.probe):
        held.append("landlock")
    if _seccomp(libc, probe=cage.probe):
        held.append("seccomp")
    return tuple(held)


def _landlock(libc: Any, readable: Iterable[str] | None, *, probe: bool) -> bool:
    """Reading of some places, writing of none (of the temporary folder and of devices for a probe)."""
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return False
    rights = (1 << FILE_RIGHTS[min(version, 5)]) - 1
    if probe:
        rights &= ~EXECUTE
    network = 3 if version >= 4 else 0
    scoped = 1 if version >= 6 else 0  # abstract sockets
    attributes = struct.pack("=QQQ", rights, network, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if ruleset < 0:
        return False
    try:
        roots = _roots(readable)
        for root in roots:
            _allow(libc, ruleset, root, READ_FILE | READ_DIR)
        if probe:
            import tempfile  # noqa: PLC0415 - ten milliseconds, for a probe alone

            # It watches its child, asks for the devices there are and keeps a temporary folder.
            for root in ("/proc", "/sys", "/etc"):
                _allow(libc, ruleset, root, READ_FILE | READ_DIR)
            for root in (tempfile.gettempdir(), "/dev"):
                _allow(libc, ruleset, root, rights)
        return bool(libc.syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)) == 0)
    finally:
        os.close(ruleset)


def _roots(readable: Iterable[str] | None) -> list[str]:
    named = None if readable is None else list(dict.fromkeys(readable))
    if named is None or len(named) > MOST_ROOTS:
        return ["/"]
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = [own, sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(os.path.isabs, sys.path), *SYSTEM, *named]
    return list(dict.fromkeys(place for path in places for place in (path, os.path.realpath(path)) if path))


def _allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    """Permit rights beneath a path; a path that is not there needs none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        if not os.path.isdir(path):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0))
    finally:
        os.close(descriptor)


def _seccomp(libc: Any, *, probe: bool) -> bool:
    """A filter that refuses the calls above, and every call of another architecture's numbering."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None or struct.calcsize("P") != 8:
        return False
    column, architecture = machine
    calls = CALLS if probe else CALLS | PROGRAMS
    numbers = sorted(numbers[column] for numbers in calls.values())
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if column == 0:
        program += [(ATLEAST, 0, 1, X32), (RETURN, 0, 0, DENY)]
    for index, number in enumerate(numbers):
        program.append((EQUAL, len(numbers) - index, 0, number))
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, DENY)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    return bool(libc.prctl(SECCOMP, FILTER, header, 0, 0) == 0)
