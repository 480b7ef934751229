"""The archive that a kernel unpacks as its first root file system: cpio, format "newc".

The format is that of ``Documentation/driver-api/early-userspace/buffer-format.rst`` (Linux 6.1).
The same files give the same bytes: entries go by path, inode numbers count up from 1, owner and
time are 0.

    make_cpio({"init": Path("init").read_bytes(), "dev/console": character_device(5, 1)})
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kprobesim.errors import ImageError, UsageError
from kprobesim.image.files.source import GIB, read_file

__all__ = [
    "Entry",
    "built_in_initramfs",
    "character_device",
    "directory",
    "make_cpio",
    "read_cpio",
    "read_initrd",
    "regular_file",
    "symbolic_link",
]

_MAGIC = b"070701"
_MAGIC_WITH_SUM = b"070702"
_ZEROS = re.compile(rb"\0+")
_FIELDS = re.compile(rb"[0-9A-Fa-f]{104}")
_HEADER_SIZE = len(_MAGIC) + 13 * 8
_TRAILER = "TRAILER!!!"
_PATH_MAX = 4096  # with its NUL; longer names and link targets the kernel skips in silence
_BLOCK = 512  # what cpio(1) pads an archive to
_MAX_U32 = (1 << 32) - 1
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Entry:
    """One file of an initramfs.

    ``mode`` is as in ``st_mode``, type bits included; ``data`` is what a regular file holds or a
    symbolic link points to; ``device`` is (major, minor) of a device node.
    """

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with data."""
        return stat.S_ISREG(self.mode)


def regular_file(data: bytes, mode: int = 0o644) -> Entry:
    """A file that holds ``data``."""
    return Entry(stat.S_IFREG | stat.S_IMODE(mode), data)


def directory(mode: int = 0o755) -> Entry:
    """A directory; those above any entry need not be given."""
    return Entry(stat.S_IFDIR | stat.S_IMODE(mode))


def character_device(major: int, minor: int, mode: int = 0o600) -> Entry:
    """A node such as ``/dev/console`` (5, 1): without that one init has no standard output."""
    return Entry(stat.S_IFCHR | stat.S_IMODE(mode), device=(major, minor))


def symbolic_link(target: str) -> Entry:
    """A symbolic link to ``target``."""
    return Entry(stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))


def make_cpio(files: Mapping[str, bytes | Entry]) -> bytes:
    """The archive of ``files`` by path from the root; a leading ``/`` makes no difference.

    Plain ``bytes`` stand for an executable file (mode 0755): what ``/init`` has to be. Raises
    ``UsageError`` for a path or an entry that the kernel would not unpack.
    """
    entries: dict[str, Entry] = {}
    for path, content in files.items():
        name = _clean(path)
        if name in entries:
            raise UsageError(f"initramfs: {path!r} is there twice")
        entries[name] = _checked(path, content)
    for name in list(entries):
        for parent in _parents(name):
            if not entries.setdefault(parent, directory()).is_directory:
                raise UsageError(f"initramfs: {parent!r} holds {name!r} but is no directory")
    parts = [
        _record(inode, name, entries[name])
        for inode, name in enumerate(sorted(entries, key=lambda name: name.split("/")), 1)
    ]
    archive = b"".join([*parts, _record(0, _TRAILER, Entry(0))])
    return archive + bytes(-len(archive) % _BLOCK)


def read_cpio(archive: bytes) -> dict[str, Entry]:
    """The files of an uncompressed archive by path, as the kernel would unpack them.

    Archives may follow each other; a later entry replaces an earlier one of the same path. Raises
    ``UsageError`` where the bytes are no such archive, or end too early.
    """
    found: dict[str, Entry] = {}
    # Names of one file share its data, which cpio(1) writes with only one of them.
    links: dict[str, tuple[int, ...]] = {}
    bodies: dict[tuple[int, ...], bytes] = {}
    archives = 0
    for name, entry, link in _records(archive):
        if name == _TRAILER:
            archives += 1
            continue
        path = name.removeprefix("./").strip("/")
        if path in ("", "."):
            continue
        found[path] = entry
        links.pop(path, None)
        if link is not None:
            links[path] = (archives, *link)
            if entry.data:
                bodies[links[path]] = entry.data
    for path, where in links.items():
        found[path] = replace(found[path], data=bodies.get(where, b""))
    return found


def built_in_initramfs(arch: str) -> bytes:
    """The archive with kprobesim's own ``/init``, for a kernel that is booted without another.

    ``arch`` is ``"x86_64"`` or ``"arm64"``. The program runs a scripted workload, or a tiny
    command loop if the kernel's command line says ``kprobesim.shell``, and powers off. Raises
    ``ImageError`` where the installation lacks the file.
    """
    name = f"init-{arch}.cpio"
    for folder in (_PACKAGE / "samples", _PACKAGE.parent / "samples"):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise ImageError(
        _PACKAGE / "samples" / name,
        "is missing; reinstall kprobesim, or run `make samples` in its sources",
    )


def _clean(path: str) -> str:
    if not isinstance(path, str):
        raise UsageError(f"initramfs: a path is text, not {type(path).__name__}")
    name = path.strip("/")
    if "\0" in name or name == _TRAILER or any(p in ("", ".", "..") for p in name.split("/")):
        raise UsageError(f"initramfs: {path!r} is no path of a file")
    if len(_encoded(name)) >= _PATH_MAX:
        raise UsageError(f"initramfs: a path of {len(_encoded(name))} bytes is too long")
    return name


def _checked(path: str, content: bytes | Entry) -> Entry:
    if isinstance(content, bytes | bytearray | memoryview):
        return regular_file(bytes(content), 0o755)
    if not isinstance(content, Entry):
        kind = type(content).__name__
        raise UsageError(f"initramfs: {path!r} is to be bytes or an Entry, not {kind}")
    if content.data and not (content.is_regular or stat.S_ISLNK(content.mode)):
        raise UsageError(f"initramfs: {path!r} cannot hold data")
    if stat.S_ISLNK(content.mode) and not 0 < len(content.data) < _PATH_MAX:
        raise UsageError(f"initramfs: the target of {path!r} is empty or too long")
    if not all(0 <= n <= _MAX_U32 for n in (content.mode, *content.device, len(content.data))):
        raise UsageError(f"initramfs: {path!r} has a mode, device or size beyond 32 bits")
    return content


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _record(inode: int, name: str, entry: Entry) -> bytes:
    text = _encoded(name) + b"\0"
    nlink = 2 if entry.is_directory else 1
    owner_and_time = (0, 0, nlink, 0)
    where = (len(entry.data), 0, 0, *entry.device)
    fields = (inode, entry.mode, *owner_and_time, *where, len(text), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + text) + _padded(entry.data)


def _records(archive: bytes) -> Iterator[tuple[str, Entry, tuple[int, int, int] | None]]:
    """Each name, what it stands for, and the file that it shares with other names, if any."""
    at = 0
    while at < len(archive):
        if zeros := _ZEROS.match(archive, at):  # the kernel, too, skips those between archives
            at = zeros.end()
            continue
        header = archive[at : at + _HEADER_SIZE]
        magic, fields = header[: len(_MAGIC)], header[len(_MAGIC) :]
        if magic not in (_MAGIC, _MAGIC_WITH_SUM) or not _FIELDS.fullmatch(fields):
            raise UsageError(
                f"initramfs: no newc cpio entry at byte {at}; make the archive with "
                "`cpio -o -H newc`, uncompressed"
            )
        numbers = [int(fields[i : i + 8], 16) for i in range(0, len(fields), 8)]
        inode, mode, _, _, nlink, _, size, major, minor, *device, name_size, _ = numbers
        start = at + _HEADER_SIZE
        data_at = at + (_HEADER_SIZE + name_size + 3) // 4 * 4
        if data_at + size > len(archive) or not 0 < name_size <= _PATH_MAX:
            raise UsageError(f"initramfs: the entry at byte {at} goes beyond the archive's end")
        name = archive[start : start + name_size].split(b"\0")[0]
        entry = Entry(mode, archive[data_at : data_at + size], (device[0], device[1]))
        shared = (inode, major, minor) if nlink > 1 and entry.is_regular else None
        yield name.decode("utf-8", "surrogateescape"), entry, shared
        at = data_at + (size + 3) // 4 * 4


def read_initrd(initrd: str | os.PathLike[str] | bytes | None, arch: str) -> bytes:
    """What ``initrd=`` of :meth:`Kernel.boot` stands for.

    Args:
        initrd: Bytes, the path of a file with them, or nothing.
        arch: Whose built-in one it is then.

    Raises:
        ImageError: It is none of these, or the file cannot be read.
    """
    if initrd is None:
        return built_in_initramfs(arch)
    if isinstance(initrd, bytes):
        return initrd
    if not isinstance(initrd, (str, os.PathLike)):
        raise ImageError(repr(initrd), "is no initrd; give bytes, or the path of an archive")
    return read_file(Path(initrd), GIB, "an initrd")
