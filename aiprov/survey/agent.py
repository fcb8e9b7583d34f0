"""Runs on the host: answers what it is and what is on it, with raw text and plain values.

Sent over the connection and never stored. Python 3.6 and later, standard library only, and of
that only what loads quickly: ``json``, ``re`` and ``subprocess`` alone would double its cost.
It writes nothing, anywhere. Meaning is made of its answers on the controller.

A message is one line: ``aiprov1 <crc32> <base64 of zlib of JSON>``.
"""

import sys

sys.dont_write_bytecode = True

import binascii
import errno
import os
import select
import stat
import time
import zlib

import _signal  # signal itself loads enum

ENV = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "HOME": os.environ.get("HOME", "/"),
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
COMMAND_S = 30.0  # a host that does much else answers late
CONTENT_MAX = 1 << 20
PIECE = 1 << 16
NOBODY = 65534


# ------------------------------------------------------------------ messages


def encoded(value):
    """JSON, without the cost of the json module (which loads re)."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{%s}" % ",".join("%s:%s" % (quoted(k), encoded(v)) for k, v in value.items())
    return "[%s]" % ",".join(encoded(item) for item in value)


def quoted(text):
    out = text.replace("\\", "\\\\").replace('"', '\\"')
    if out.isprintable() and all(c < "\x7f" for c in out):
        return '"%s"' % out
    return '"%s"' % "".join(c if " " <= c < "\x7f" else escaped(ord(c)) for c in out)


def escaped(code):
    if code < 0x10000:
        return "\\u%04x" % code
    code -= 0x10000
    return "\\u%04x\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))


def framed(answer):
    body = zlib.compress(encoded(answer).encode("ascii"), 6)
    text = binascii.b2a_base64(body, newline=False)
    return b"aiprov1 %08x %s\n" % (zlib.crc32(text) & 0xFFFFFFFF, text)


def unframed(line):
    """A request: JSON in UTF-8, which with three names for its literals is also Python."""
    text = line.split()[2]
    body = zlib.decompress(binascii.a2b_base64(text)).decode("utf-8")
    return eval(body, {"__builtins__": {}, "true": True, "false": False, "null": None})


# ------------------------------------------------------------------ reading


def text_of(path, limit=CONTENT_MAX):
    """A small text file, or None. Never waits: it opens regular files only."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, limit).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(fd)


def long_text_of(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def link_of(path):
    try:
        return os.readlink(path)
    except OSError:
        return None


def names_in(path, nothing=OSError):  # for a folder that must not read as empty: which error does
    try:
        return sorted(os.listdir(path))
    except nothing:
        return []


class Child:
    """A command that was started. Its output is read when asked for, within its time."""

    def __init__(self, argv, seconds=COMMAND_S, user=None):
        self.end = time.monotonic() + seconds
        out, out_w = os.pipe()
        err, err_w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            become_command(argv, out_w, err_w, user)
        os.close(out_w)
        os.close(err_w)
        self.parts = {out: [], err: []}
        self.out, self.err = out, err

    def finished(self):
        """(exit status or None when it took too long, stdout, stderr)"""
        poll = select.poll()
        for fd in self.parts:
            poll.register(fd, select.POLLIN)
        left, size = len(self.parts), 0
        while left and (time.monotonic() < self.end or size < CONTENT_MAX):
            # What came while others were read is taken even when the time is over.
            ready = poll.poll(max(0, self.end - time.monotonic()) * 1000)
            if not ready:
                break
            for fd, _ in ready:
                piece = os.read(fd, PIECE)
                size += len(piece)
                if piece:
                    self.parts[fd].append(piece)
                else:
                    poll.unregister(fd)
                    left -= 1
        status = self.ended()
        for fd in self.parts:
            os.close(fd)
        return [status] + [
            b"".join(self.parts[fd]).decode("utf-8", "replace") for fd in (self.out, self.err)
        ]

    def ended(self):
        """The exit status; None when its time was over, and then it is ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        left = self.end - time.monotonic()
        if not pid and left > 0:  # it closed its output and still runs
            _signal.signal(_signal.SIGALRM, overdue)
            _signal.setitimer(_signal.ITIMER_REAL, left)
            try:
                pid, status = os.waitpid(self.pid, 0)
            except TimeoutError:
                pid = 0
            _signal.setitimer(_signal.ITIMER_REAL, 0)
        if pid:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        os.killpg(self.pid, _signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def overdue(signal, frame):
    raise TimeoutError


def become_command(argv, out, err, user):
    """In the child: never returns."""
    try:
        os.setsid()
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir("/")
        if user is not None and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        os.execvpe(argv[0], argv, ENV)
    except OSError as error:
        os.write(2, ("%s: %s" % (argv[0], error.strerror)).encode())
    finally:
        os._exit(127)


# ------------------------------------------------------------------ what the host is

FACT_FILES = (
    "/etc/os-release",
    "/usr/lib/os-release",
    "/proc/sys/kernel/random/boot_id",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/cmdline",
    "/etc/timezone",
    "/proc/net/if_inet6",
)
OWNER_KEYS = ("/var/lib/shim-signed/mok/MOK.der", "/var/lib/dkms/mok.pub")
LINKED_CLASSES = ("0x02", "0x03", "0x0108", "0x0b", "0x12")  # NICs, GPUs, NVMe, processors


def facts(request):
    children = {
        "ip": Child(("ip", "-j", "addr")),
        "virtualization": Child(("systemd-detect-virt",)),
    }
    variables = "/sys/firmware/efi/efivars"
    name = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    secure_boot = bytes_of(variables + "/" + name)
    keys = OWNER_KEYS if secure_boot[4:5] == b"\x01" else ()
    keys = [Child(("mokutil", "--test-key", path)) for path in keys if os.path.exists(path)]
    answer = {
        "uname": list(os.uname()),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "uid": os.geteuid(),
        "cpus": os.cpu_count() or 0,
        "files": {path: text_of(path) for path in FACT_FILES},
        "localtime": link_of("/etc/localtime"),
        "efi": os.path.isdir("/sys/firmware/efi"),
        "secure_boot": binascii.hexlify(secure_boot).decode(),
        "cgroup2": os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "pci": {name: pci(name) for name in names_in("/sys/bus/pci/devices", FileNotFoundError)},
        "net": {name: net(name) for name in names_in("/sys/class/net")},
        "kernels": [name for name in names_in("/lib/modules") if bootable(name)],
        "owner_keys": [child.finished() for child in keys],
    }
    for name, child in children.items():
        answer[name] = child.finished()
    return answer


def bootable(kernel):
    return any(map(os.path.exists, ("/boot/vmlinuz-" + kernel, "/lib/modules/%s/vmlinuz" % kernel)))


def bytes_of(path):
    try:
        with open(path, "rb") as file:
            return file.read(64)
    except OSError:
        return b""


def pci(name):
    folder = "/sys/bus/pci/devices/%s/" % name
    found = {key: text_of(folder + key, 64) for key in ("vendor", "device", "class", "numa_node")}
    found["driver"] = link_of(folder + "driver")
    if (found["class"] or "").startswith(LINKED_CLASSES):  # reading a link can wake the device
        for key in ("subsystem_vendor", "subsystem_device"):
            found[key] = text_of(folder + key, 64)
        for key in ("current_link_speed", "current_link_width"):
            found[key] = text_of(folder + key, 64)
    return found


def net(name):
    return {key: text_of("/sys/class/net/%s/%s" % (name, key), 64) for key in ("address", "mtu")}


# ------------------------------------------------------------------ what is on it


def state(request):
    asked = {name: Child(argv) for name, argv in request.get("commands", {}).items()}
    units = Child(units_argv(request["units"])) if request.get("units") else None
    manager = request.get("manager")
    packages = request.get("packages", [])
    rpm = Child(RPM + tuple(packages)) if packages and manager == "rpm" else None
    grubby = Child(("grubby", "--info=ALL")) if request.get("grubby") else None
    answer = {
        "paths": {path: path_state(path, want) for path, want in request.get("paths", {}).items()},
        "ctimes": {path: ctime(path) for path in request.get("ctimes", [])},
        "sysctls": {key: text_of("/proc/sys/" + key) for key in request.get("sysctls", [])},
        "modules": modules(request.get("modules", [])),
        "cmdline": text_of("/proc/cmdline"),
        "lists": [name for name in request.get("lists", []) if listed(name)],
        "accounts": accounts(request.get("users", []), request.get("groups", [])),
        "grub": boot_lines() if request.get("grub") else None,
    }
    if packages and manager == "dpkg":
        answer["packages"] = dpkg(packages)
        answer["companions"] = companions(request.get("sets", []), answer["packages"])
    if packages:
        answer["lists_age"] = lists_age(manager)
        answer["lists_complete"] = manager == "rpm" or lists_complete()
    if rpm:
        answer["rpm"] = rpm.finished()
        answer["locks"] = long_text_of("/etc/dnf/plugins/versionlock.list")
        answer["locks_toml"] = long_text_of("/etc/dnf/versionlock.toml")
    if units:
        answer["units"] = units.finished()
    if grubby:
        answer["grubby"] = grubby.finished()
    answer["commands"] = {name: child.finished() for name, child in asked.items()}
    answer["clock"] = [time.time(), time.monotonic()]
    return answer


UNIT_KEYS = "LoadState,UnitFileState,ActiveState,NeedDaemonReload,ActiveEnterTimestampMonotonic"


def units_argv(names):
    return ("systemctl", "show", "--no-pager", "-p", "Id," + UNIT_KEYS, "--") + tuple(names)


def path_state(path, want):
    try:
        found = os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return {"type": "absent"}
        return {"error": error.strerror}
    answer = {
        "type": type_of(found.st_mode),
        "mode": stat.S_IMODE(found.st_mode),
        "owner": owner(found.st_uid),
        "group": group(found.st_gid),
    }
    if answer["type"] == "link":
        answer["target"] = link_of(path)
    if answer["type"] == "file" and want["read"]:
        try:
            answer.update(content_of(path, want))
        except OSError as error:
            answer["error"] = error.strerror
    return answer


def type_of(mode):
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def content_of(path, want):
    """The file's hash; its text where that was asked for and is not the text that is wanted."""
    from hashlib import sha256

    digest, pieces, size = sha256(), [], 0
    with open(path, "rb") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                break
            digest.update(piece)
            size += len(piece)
            if size <= CONTENT_MAX:
                pieces.append(piece)
    answer = {"sha256": digest.hexdigest(), "content": None}
    if want["send"] and answer["sha256"] != want["sha256"] and size <= CONTENT_MAX:
        try:
            answer["content"] = b"".join(pieces).decode("utf-8")
        except UnicodeDecodeError:
            pass
    return answer


NAMES = {}


def owner(uid):
    if ("u", uid) not in NAMES:
        import pwd

        try:
            NAMES["u", uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            NAMES["u", uid] = str(uid)
    return NAMES["u", uid]


def group(gid):
    if ("g", gid) not in NAMES:
        import grp

        try:
            NAMES["g", gid] = grp.getgrgid(gid).gr_name
        except KeyError:
            NAMES["g", gid] = str(gid)
    return NAMES["g", gid]


def ctime(path):
    """When the file changed, or the link that leads to it; None where there is none."""
    try:
        return max(os.stat(path).st_ctime, os.lstat(path).st_ctime)
    except OSError:
        return None


def modules(names):
    """Whether each is there; None where modprobe knows that the running kernel has none such."""
    found, folder = {}, "/lib/modules/" + os.uname().release
    builtin = long_text_of(folder + "/modules.builtin").replace("-", "_") if names else ""
    known = os.path.exists(folder + "/modules.dep")
    for name in names:
        found[name] = os.path.isdir("/sys/module/" + name) or ("/%s.ko\n" % name) in builtin
        if not found[name] and known and Child(("modprobe", "-nq", name)).finished()[0] == 1:
            found[name] = None
    return found


def listed(name):
    return os.path.lexists("/var/lib/apt/lists/" + name)


def accounts(users, groups):
    """The lines of the local account files that are asked about. No password is ever read."""
    found = {"users": {}, "groups": {}, "member_of": {}}
    if not users and not groups:
        return found
    for line in long_text_of("/etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] in users and len(fields) == 7:
            found["users"].setdefault(fields[0], fields[2:4] + fields[5:7])
    primary = {fields[1]: name for name, fields in found["users"].items()}
    names = {}
    for line in long_text_of("/etc/group").splitlines():
        fields = line.split(":")
        if len(fields) != 4:
            continue
        names.setdefault(fields[2], fields[0])
        if fields[0] in groups:
            found["groups"].setdefault(fields[0], fields[2])
        for user in fields[3].split(","):
            if user in users:
                found["member_of"].setdefault(user, []).append(fields[0])
    for name, fields in found["users"].items():
        fields.append(names.get(fields[1], fields[1]))
    return found


def boot_lines():
    """The kernel command lines of GRUB's menu; None where there is no menu."""
    for path in ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"):
        text = long_text_of(path)
        if text:
            lines = (line.split() for line in text.splitlines())
            return [" ".join(line[1:]) for line in lines if line and line[0].startswith("linux")]
    return None


# ------------------------------------------------------------------ packages

RPM = (
    "rpm",
    "-q",
    "--qf",
    "%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\t%{INSTALLTIME}\\n",
)
INSTALLED = ("installed", "triggers-awaited", "triggers-pending")
DPKG_FORMAT = "Package: ${Package}\nStatus: ${Status}\nArchitecture: ${Architecture}\nVersion: ${Version}\n\n"


def dpkg(names):
    """name -> [version, held]. dpkg's own file is read, unless dpkg was stopped half-way: then
    a part of the truth lies in its journal, which dpkg-query knows how to read."""
    if [name for name in names_in("/var/lib/dpkg/updates") if name.isdigit()]:
        rc, text, said = Child(("dpkg-query", "-W", "-f", DPKG_FORMAT) + tuple(names)).finished()
        if rc not in (0, 1):  # 1: it knows nothing of one of the names
            raise OSError("dpkg-query does not answer: %s %s" % (rc, said.strip()))
    else:
        text = long_text_of("/var/lib/dpkg/status")
    text = "\n" + text
    found = {}
    for name in names:
        start = text.find("\nPackage: %s\n" % name)
        while start >= 0:
            end = text.find("\n\n", start)
            fields = paragraph(text[start + 1 : end if end >= 0 else len(text)])
            want, _, status = fields.get("Status", "").split()[:3] or ("", "", "")
            if status in INSTALLED and (name not in found or not found[name][0]):
                found[name] = [fields.get("Version"), want == "hold"]
            elif want == "hold":
                found.setdefault(name, [None, True])
            start = text.find("\nPackage: %s\n" % name, end) if end >= 0 else -1
    return found


def companions(names, installed):
    """name -> version of all packages at a version that one of these has: what they came with."""
    found, versions = {}, {installed[name][0] for name in names if name in installed} - {None}
    text = long_text_of("/var/lib/dpkg/status") if versions else ""
    for version in versions:
        start = text.find("\nVersion: %s\n" % version)
        while start >= 0:
            fields = paragraph(text[text.rfind("\n\n", 0, start) + 2 : text.find("\n\n", start)])
            if fields["Status"].split()[2] in INSTALLED:
                found[fields["Package"]] = version
            start = text.find("\nVersion: %s\n" % version, start + 1)
    return found


def paragraph(text):
    pairs = (line.partition(": ") for line in text.split("\n") if line[:1] != " ")
    return {key: value for key, _, value in pairs}


def lists_age(manager):
    """Seconds since the package lists were last brought up to date; None if they never were."""
    if manager == "dpkg":
        folder = "/var/lib/apt/lists"
        names = [name for name in names_in(folder) if name.endswith("Release")]
        paths = ["/var/lib/apt/periodic/update-success-stamp", folder, folder + "/partial"]
    else:
        folder = "/var/cache/dnf"
        paths = ["%s/%s/repodata/repomd.xml" % (folder, name) for name in names_in(folder)]
        names = [path for path in paths if os.path.exists(path)]
    times = [os.stat(path).st_mtime for path in paths if os.path.exists(path)]
    return max(0, int(time.time() - max(times))) if names and times else None


def lists_complete():
    """Whether apt has a list of every place that its sources name (up to what it would quote)."""
    paths = ["/etc/apt/sources.list.d/" + name for name in names_in("/etc/apt/sources.list.d")]
    names = names_in("/var/lib/apt/lists")
    for path in paths + ["/etc/apt/sources.list"]:
        for line in long_text_of(path).split("\n") if path.endswith((".list", ".sources")) else ():
            for word in line.partition("#")[0].split():
                place = word.partition("://")[2].rpartition("@")[2].rstrip("/")
                for odd in "_%+~":
                    place = place.partition(odd)[0]
                stem = place.replace("/", "_")
                if stem and not [name for name in names if name.startswith(stem)]:
                    return False
    return True


def candidates(request):
    """What the repositories offer, from the lists that the host has.

    apt is asked as nobody: as root it would write its cache. dnf has to be asked as root, since
    everyone else has lists of their own; its log is the one thing that it writes.
    """
    names = tuple(request["packages"])
    if request["manager"] == "dpkg":
        child = Child(("apt-cache", "policy", "--") + names, 60.0, NOBODY)
    else:
        form = "%{name}\\t%{evr}\\n"
        query = ("repoquery", "--showduplicates", "--qf", form, "--")
        child = Child(("dnf", "-q", "-C") + query + names, 60.0)
    return {"candidates": child.finished()}


# ------------------------------------------------------------------ looking around


def look(request):
    """What commands say, and what is in files, folders and behind links: for a diagnosis."""
    seconds = request.get("seconds", COMMAND_S)
    asked = {name: Child(argv, seconds) for name, argv in request.get("commands", {}).items()}
    read = {"files": text_of, "folders": names_in, "links": link_of}
    answer = {kind: {path: of(path) for path in request.get(kind, [])} for kind, of in read.items()}
    answer["commands"] = {name: child.finished() for name, child in asked.items()}
    return answer


# ------------------------------------------------------------------ the conversation

ANSWERS = {"facts": facts, "state": state, "candidates": candidates, "look": look}


def answered(line):
    try:
        request = unframed(line)
        return framed(ANSWERS[request["ask"]](request))
    except Exception:
        import traceback

        return framed({"error": traceback.format_exc()})


def main():
    """Answer the request that came with the program, or those on standard input until it ends."""
    given = globals().get("REQUEST")
    for line in [given] if given else iter(sys.stdin.buffer.readline, b""):
        sys.stdout.buffer.write(answered(line))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
