"""Become another program that dies with its parent and has no more rights than it needs.

Run as a script, `python -I -S become.py TERMS COMMAND...`, and never imported: it must start in
milliseconds and know nothing of the rest. TERMS is JSON: `parent` (process id), `death_signal` (what the
kernel sends when the parent dies, see prctl(2) PR_SET_PDEATHSIG), and, to leave root, `uid`, `gid` and
`capability` (the one capability kept, or null).
"""

import ctypes
import json
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522


class CapabilityHeader(ctypes.Structure):
    """`cap_user_header_t` of capset(2)."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilitySet(ctypes.Structure):
    """`cap_user_data_t` of capset(2); the kernel takes two, for the low and the high 32 capabilities."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def prctl(option: int, *arguments: int) -> None:
    """prctl(2), with its failure raised as OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded):
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def keep_only(capability: int) -> None:
    """Reduce this process to one capability that survives exec under an ordinary user id."""
    libc = ctypes.CDLL(None, use_errno=True)
    sets = (CapabilitySet * 2)()
    mask = 1 << (capability % 32)
    half = capability // 32
    sets[half] = CapabilitySet(effective=mask, permitted=mask, inheritable=mask)
    header = CapabilityHeader(version=CAPABILITY_VERSION_3, pid=0)
    if libc.capset(ctypes.byref(header), sets):
        error = ctypes.get_errno()
        raise OSError(error, f"capset: {os.strerror(error)}")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def leave_root(uid: int, gid: int, capability: int | None) -> None:
    """Switch to an ordinary user for good."""
    if capability is not None:
        # Keeps capabilities over the change of user, and lets access(2) count them ever after: initdb asks
        # it whether it may run its programs. Needs CAP_SETPCAP.
        prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability is not None:
        keep_only(capability)


def main() -> None:
    terms = json.loads(sys.argv[1])
    command = sys.argv[2:]
    if terms.get("uid") is not None:
        leave_root(terms["uid"], terms["gid"], terms.get("capability"))
    if sys.platform == "linux":
        # After leave_root: a change of user clears it.
        prctl(PR_SET_PDEATHSIG, terms["death_signal"])
        if os.getppid() != terms["parent"]:
            sys.exit("the parent process died first")
    os.execv(command[0], command)  # noqa: S606 - the command is ours


if __name__ == "__main__":
    main()
