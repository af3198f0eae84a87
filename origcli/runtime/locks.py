"""Locks on files: the kernel's, or a marker file where the file system has none (NFS, CIFS, FUSE)."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from origcli.errors import StorageError
from origcli.runtime.owned import NEW_FILE, partial_name

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Holds the lock on a file, which is made where it is missing, while the context is open.

    A marker file of a process that was killed is taken over on the same machine. On another machine it has to
    be removed by hand: nobody can tell there whether the process lives.

    Args:
        timeout: seconds to wait for another holder; a negative number waits forever.

    Raises:
        Timeout: another process holds it.
        StorageError: the lock file cannot be made.
    """
    try:
        lock = (FileLock if _has_locks(path.parent) else SoftFileLock)(path, timeout)
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: cannot lock: {error.strerror or error}", "choose a directory on another file system"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _has_locks(directory: Path) -> bool:
    """Whether the file system of a directory has locks, tried on a file that nobody else knows."""
    probe = directory / partial_name("lock")
    descriptor = os.open(probe, NEW_FILE, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    finally:
        os.close(descriptor)
        probe.unlink()
    return True
