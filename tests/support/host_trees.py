"""Directory trees as hosts have them, odd names and kinds included, and a strict comparer of a tree and its snapshot.

A snapshot of ours has regular files and directories only: what each really is stands in the extended attribute that rsync's
``--fake-super`` writes (``user.rsync.%stat``: mode, device, owner). ``read_snapshot`` decodes it by its own rules, so that it
can be an oracle for the code that does the same.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ATTRIBUTE = "user.rsync.%stat"
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}

# Every one of these has made some program stumble.
ODD_NAMES: tuple[bytes, ...] = (
    b" ",
    b"  two spaces  ",
    b"-rf",
    b"--rsh=touch canary",
    b"--delete",
    b"-e sh canary",
    b"$(touch canary)",
    b"`touch canary`",
    b";touch canary;",
    b"a|b",
    b"a&b",
    b"new\nline",
    b"\nline first",
    b"carriage\rreturn",
    b"tab\tstop",
    b"bell\x07",
    b"escape\x1b[31mred",
    b"delete\x7f",
    b"back\\slash",
    b"\\#012",
    b"%s%n%C",
    b"quote'single",
    b'quote"double',
    b"star*",
    b"question?",
    b"[bracket]",
    b"{brace,other}",
    b"~",
    b"~root",
    b"#hash#",
    b"!bang",
    b"host:path",
    b"host::module",
    b"...",
    b"..hidden",
    b".profile",
    b"<b onclick=x>bold&amp;",
    b"data",
    b"files.list",
    b"snapshot.json",
    b"digests.log",
    b".partial",
    b".~tmp~",
    b".file.Ab3xYz",
    b"-> arrow",
    b"f 100644 0 0 7 1.0 2 -",
    "é composed".encode(),
    "é decomposed".encode(),
    "文件".encode(),
    "🗄".encode(),
    "\u202eright to left".encode(),
    b"latin-1 \xe9\xff",
    b"\xff\xfe",
    b"\xed\xa0\x80 surrogate",
    b"L" * 255,
)
ODD_TIMES = (0.0, -1.5, 1.000000001, 2_200_000_000.5, 951_782_400.999999999)


@dataclass(frozen=True, slots=True)
class Fact:
    """What one name of a tree really is.

    ``content`` is the SHA-256 of a file, the target of a symlink, the number of a device, else "". ``names`` are all names of a
    regular file that has several in this tree, in order; else ().
    """

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: str
    names: tuple[bytes, ...] = ()


Facts = Mapping[bytes, Fact]


def make_tree(root: Path, *, files: int = 60, seed: int = 1, odd: bool = True) -> Path:
    """A tree below ``root`` (made if need be): ordinary files in directories, and with ``odd`` one of everything."""
    source = random.Random(seed)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        directory = root / f"etc{number % 7}" / f"part{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / f"file{number}.conf", source.randbytes(source.choice((0, 10, 900, 5_000, 70_000))), source)
    if odd:
        _add_odd_names(root / "odd", source)
        _add_odd_kinds(root / "kinds", source)
        _add_odd_modes(root / "modes", source)
        _add_hard_links(root / "links", source)
    _age_directories(root, source)
    return root


def _write(path: Path, content: bytes, source: random.Random) -> None:
    path.write_bytes(content)
    path.chmod(source.choice((0o644, 0o600, 0o755, 0o640)))
    _age(path, source)


def _age(path: Path | bytes, source: random.Random) -> None:
    moment = source.randrange(1_000_000_000, 1_790_000_000) * 10**9 + source.randrange(10**9)
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _age_directories(root: Path, source: random.Random) -> None:
    for directory, _, _ in os.walk(os.fsencode(root), topdown=False):
        _age(directory, source)


def _add_odd_names(root: Path, source: random.Random) -> None:
    base = os.fsencode(root)
    os.makedirs(base + b"/empty directory", exist_ok=True)
    for number, name in enumerate(ODD_NAMES):
        path = base + b"/" + name
        Path(os.fsdecode(path)).write_bytes(name * (number + 1))
        moment = int(ODD_TIMES[number % len(ODD_TIMES)] * 10**9)
        os.utime(path, ns=(moment, moment))
    deep = base + b"".join(b"/" + name for name in ODD_NAMES[:20] if name not in (b"...",)) + b"/deep"
    deep = deep.replace(base + b"/ /", base + b"/below /", 1)
    os.makedirs(deep)
    Path(os.fsdecode(deep + b"/bottom")).write_bytes(source.randbytes(99))
    os.makedirs(base + b"/only\nnewlines\n/\n/\n\n")


def _add_odd_kinds(root: Path, source: random.Random) -> None:
    root.mkdir()
    targets = {
        "absolute": "/etc/hosts",
        "dangling": "nowhere/at all",
        "upwards": "../../../../etc/passwd",
        "itself": "itself",
        "directory": "../etc0",
        "newline": "new\nline",
        "bytes": os.fsdecode(b"\xff\xfe"),
        "long": "x/" * 1500 + "x",
    }
    for name, target in targets.items():
        (root / f"link {name}").symlink_to(target)
        _age(root / f"link {name}", source)
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "socket", stat.S_IFSOCK | 0o755)
    if os.geteuid() == 0:
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_001))
    with (root / "sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_500_000)
        file.write(b"in the middle")
    (root / "empty").touch()


def _add_odd_modes(root: Path, source: random.Random) -> None:
    root.mkdir()
    is_root = os.geteuid() == 0
    for mode in (
        0o444,
        0o4755,
        0o2755,
        0o6711,
        0o1644,
        0o777,
        0o000 if is_root else 0o400,
        0o111 if is_root else 0o500,
    ):
        path = root / f"file {mode:04o}"
        path.write_bytes(source.randbytes(50))
        path.chmod(mode)
    for mode in (0o1777, 0o2775, 0o700, 0o555, 0o000 if is_root else 0o500):
        path = root / f"directory {mode:04o}"
        path.mkdir()
        (path / "inside").write_bytes(source.randbytes(20))
        path.chmod(mode)
    if is_root:
        for number, owner in enumerate(((1234, 5678), (0, 42), (4_000_000_000, 4_000_000_001))):
            path = root / f"owned {number}"
            path.write_bytes(b"owned")
            os.chown(path, *owner)
            path.chmod(0o4711 if number == 1 else 0o640)


def _add_hard_links(root: Path, source: random.Random) -> None:
    for name in ("one", "two"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        first = root / "one" / f"first {number}"
        _write(first, source.randbytes(1000 * number), source)
        for other in range(number + 1):
            (root / "two" / f"name {number} {other}").hardlink_to(first)


@dataclass(frozen=True, slots=True)
class Changes:
    """What ``change_tree`` did, by the names' paths below the root."""

    added: tuple[bytes, ...] = ()
    changed: tuple[bytes, ...] = ()
    touched: tuple[bytes, ...] = ()
    reowned: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()


def change_tree(root: Path, *, seed: int, share: float = 0.08) -> Changes:
    """A day passes: of the regular files a share is changed, one touched, one gets another mode, one goes, one comes.

    Files of several names are left alone (rsync may keep names together that the source has parted since the base).
    """
    source = random.Random(seed)
    facts = read_source(root)
    plain = sorted(name for name, fact in facts.items() if fact.kind == "file" and not fact.names)
    source.shuffle(plain)
    count = max(1, int(len(plain) * share))
    groups = [plain[start * count : (start + 1) * count] for start in range(4)]
    base = os.fsencode(root) + b"/"
    for name in groups[0]:
        with open(base + name, "r+b") as file:
            file.seek(source.randrange(100))
            file.write(source.randbytes(64))
    for name in groups[1]:
        _age(base + name, source)
    for name in groups[2]:
        mode = facts[name].mode
        os.chmod(base + name, mode ^ 0o044 if mode & 0o400 else 0o644)
    for name in groups[3]:
        os.unlink(base + name)
    added = [f"etc0/part0/new {seed} {number}\n".encode() for number in range(count)]
    os.makedirs(base + b"etc0/part0", exist_ok=True)
    for name in added:
        Path(os.fsdecode(base + name)).write_bytes(source.randbytes(source.randrange(20_000)))
    return Changes(tuple(added), *map(tuple, groups))


def walk(root: Path | bytes) -> Iterator[tuple[bytes, bytes]]:
    """(path, path below the root) of everything; the root itself is b".". Parents come before what is in them."""
    base = os.fsencode(root)
    yield base, b"."
    waiting = [b""]
    while waiting:
        below = waiting.pop()
        with os.scandir(base + b"/" + below) as entries:
            for entry in entries:
                inside = below + entry.name
                yield entry.path, inside
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(inside + b"/")


def read_source(root: Path) -> dict[bytes, Fact]:
    """What a live tree holds, by path below it."""
    found, inodes = {}, {}
    for path, inside in walk(root):
        seen = os.lstat(path)
        found[inside] = _fact(path, seen, seen.st_mode, (seen.st_uid, seen.st_gid), seen.st_rdev)
        inodes[inside] = seen.st_ino
    return _with_names(found, inodes)


def read_snapshot(tree: Path) -> dict[bytes, Fact]:
    """What a snapshot's tree says that the host had, by path below it."""
    found, inodes = {}, {}
    for path, inside in walk(tree):
        seen = os.lstat(path)
        mode, owner, device = seen.st_mode, (seen.st_uid, seen.st_gid), 0
        text = _attribute(path)
        if text:
            word, numbers, owners = text.split()
            major, minor = map(int, numbers.split(","))
            uid, gid = map(int, owners.split(":"))
            mode, owner, device = int(word, 8), (uid, gid), os.makedev(major, minor)
        found[inside] = _fact(path, seen, mode, owner, device)
        inodes[inside] = seen.st_ino
    return _with_names(found, inodes)


def _attribute(path: bytes) -> str:
    try:
        return os.getxattr(path, ATTRIBUTE, follow_symlinks=False).decode()
    except OSError:
        return ""


def _fact(path: bytes, seen: os.stat_result, mode: int, owner: tuple[int, int], device: int) -> Fact:
    kind, content = KINDS[stat.S_IFMT(mode)], ""
    if kind == "file":
        content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
    elif kind == "symlink":
        target = os.readlink(path) if stat.S_ISLNK(seen.st_mode) else Path(os.fsdecode(path)).read_bytes()
        content = repr(target)
    elif kind.endswith("device"):
        content = f"{os.major(device)},{os.minor(device)}"
    return Fact(kind, stat.S_IMODE(mode), owner[0], owner[1], seen.st_mtime_ns, content)


def _with_names(found: dict[bytes, Fact], inodes: Mapping[bytes, int]) -> dict[bytes, Fact]:
    groups: dict[int, list[bytes]] = {}
    for inside, fact in found.items():
        if fact.kind == "file":
            groups.setdefault(inodes[inside], []).append(inside)
    for names in groups.values():
        if len(names) > 1:
            for name in names:
                found[name] = replace(found[name], names=tuple(sorted(names)))
    return found


def differences(expected: Facts, found: Facts) -> list[str]:
    """Every difference as a sentence, [] when all is equal: names, kinds, modes, owners, times, contents, hard links."""
    wrong = [f"missing: {name!r}" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"too many: {name!r}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        for field in Fact.__dataclass_fields__:
            wanted, got = getattr(expected[name], field), getattr(found[name], field)
            if wanted != got:
                wrong.append(f"{name!r}: {field} is {got!r} instead of {wanted!r}")
    return wrong


def compare(source: Path, tree: Path) -> list[str]:
    """How the snapshot's tree differs from the source as it is now; what in it is dangerous counts as well."""
    return [*differences(read_source(source), read_snapshot(tree)), *list_wild(tree)]


def list_wild(tree: Path) -> list[str]:
    """What may not be in a tree of ours: anything but plain files and directories, and special mode bits."""
    wild = []
    for path, inside in walk(tree):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            wild.append(f"wild: {inside!r} is a real {KINDS[stat.S_IFMT(mode)]}")
        if mode & 0o7000:
            wild.append(f"wild: {inside!r} has the mode {stat.S_IMODE(mode):04o}")
    return wild


def shared_names(one: Path, two: Path) -> set[bytes]:
    """The files of both trees that are the same inode under the same name."""
    inodes = {inside: os.lstat(path).st_ino for path, inside in walk(one) if not os.path.isdir(path)}
    return {inside for path, inside in walk(two) if inodes.get(inside) == os.lstat(path).st_ino}
