"""Root folders in which what `ops/` has is really run: an image by the steps of its Dockerfile, and a machine with systemd.

No container engine is needed. A root folder is a fresh Debian by `debootstrap`; `systemd-nspawn` gives processes in it their
own process ids, mounts and users, on the network of this machine.
"""

import os
import shlex
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PATH = "/opt/headway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RELEASE = "bookworm"
PACKAGES = "python3,python3-venv,systemd,systemd-sysv,dbus,ca-certificates"
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")
NSPAWN = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=copy-host", "--timezone=off"]
INDEX = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_CERT_FILE")}
"""Settings of pip on this machine, which a build in a container needs too."""


def missing():
    """Return why root folders cannot be made here, or None."""
    if os.geteuid() != 0:
        return "root folders are made by root only"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return f"not there: {', '.join(lacking)} (Debian: debootstrap, systemd-container, util-linux)" if lacking else None


def debian(folder):
    """Make a fresh Debian with Python and systemd in a folder."""
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(folder)]
    subprocess.run([*command, "http://deb.debian.org/debian"], check=True, stdout=subprocess.DEVNULL)
    (folder / "etc/hosts").touch()  # to be replaced where names are needed
    for each in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(each).exists():
            (folder / each[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each, folder / each[1:])


def copied(source, target):
    """Copy a root folder, with owners and modes."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
    return target


@dataclass
class Image:
    """A root folder, and how processes in it are started."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    user: str = "root"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def argv(self, *words, env=None, mounts=(), binds=(), tmpfs=(), read_only=False):
        """Return the command that runs these words in the folder, as the first process there.

        `mounts` are volumes and `binds` are folders to be read only, each as `outside:inside`.
        """
        options = [f"--directory={self.root}", f"--chdir={self.workdir}", "--kill-signal=SIGTERM"]
        options += [f"--setenv={name}={value}" for name, value in {**self.env, **(env or {})}.items()]
        options += [f"--bind-ro={bind}" for bind in binds] + [f"--tmpfs={path}" for path in tmpfs]
        options += [f"--user={self.name}"] if self.user != "root" else []
        options += [f"--bind={mount}" for mount in mounts] + (["--read-only"] if read_only else [])
        return [*NSPAWN, *options, "--", *words]

    @property
    def name(self):
        """The user's name; the Dockerfile says a number, as orchestrators want to see one."""
        number = self.user.partition(":")[0]
        passwd = [line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()]
        return next(line[0] for line in passwd if number in (line[0], line[2]))

    def run(self, *words, check=True, **options):
        """Run a command to its end; return what is left of it."""
        return subprocess.run(self.argv(*words, **options), check=check, capture_output=True, text=True, timeout=600)

    @contextmanager
    def container(self, *command, log, **options):
        """Start entrypoint and command, by default the image's own."""
        words = [*self.entrypoint, *(command or self.command)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.argv(*words, **options), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield Container(process, self, self.env | options.get("env", {}))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)


@dataclass
class Container:
    """The processes of a root folder."""

    process: subprocess.Popen
    image: Image
    env: dict[str, str]

    @property
    def first(self):
        """The process that is 1 within."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = until(lambda: self.process.poll() is not None or children.read_text().split(), 30)
        assert found is not True, f"it ended with {self.process.returncode}"
        return int(found[0])

    def within(self, *words):
        """Run a command beside the others, as the image's user in the environment of the container."""
        uid, gid = self.image.user.split(":")
        enter = ["nsenter", "-t", str(self.first), "-m", "-p", "-u", "-i", "-S", uid, "-G", gid]
        command = [*enter, "env", "-i", *(f"{name}={value}" for name, value in self.env.items()), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def stop(self, within_s=60):
        """Ask the first process to end, as an engine does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


def built(dockerfile, context, base, folder):
    """Carry out a Dockerfile's steps, each stage in a copy of `base`; return the image of the last one."""
    stages, image = {}, None
    arguments = {}
    for word, rest in instructions(dockerfile):
        match word:
            case "ARG":
                name, _, value = rest.partition("=")
                arguments[name] = value
            case "FROM":
                name = rest.partition(" AS ")[2] or f"stage{len(stages)}"
                image = stages[name] = Image(copied(base, folder / name))
            case "WORKDIR":
                image.workdir = rest
                (image.root / rest[1:]).mkdir(parents=True, exist_ok=True)
            case "RUN":
                image.run("/bin/sh", "-c", rest, env=INDEX)
            case "COPY":
                copy(shlex.split(rest), context, image, stages)
            case "ENV":
                image.env |= {name: value for name, _, value in (pair.partition("=") for pair in shlex.split(rest))}
            case "USER":
                image.user = rest
            case "VOLUME":
                image.volumes.append(rest)
            case "EXPOSE":
                image.ports.append(int(rest))
            case "HEALTHCHECK":
                image.healthcheck = words(rest.partition("CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = words(rest)
            case "CMD":
                image.command = words(rest)
            case "STOPSIGNAL":
                assert rest == "SIGTERM"
            case _:
                raise AssertionError(f"{word} {rest}")
    return image


def instructions(dockerfile):
    """Yield the instructions with their arguments, joined over the ends of lines."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, " ".join(rest.split())


def words(array):
    """Read the exec form, a JSON array."""
    import json

    return json.loads(array)


def copy(arguments, context, image, stages):
    """Copy files of the context, or of another stage, into the image."""
    source = context
    if arguments[0].startswith("--from="):
        source = stages[arguments.pop(0).removeprefix("--from=")].root
    *names, target = arguments
    place = image.root / (image.workdir.lstrip("/") if not target.startswith("/") else "") / target.lstrip("/")
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aT", str(origin), str(place)], check=True)
        else:
            into = place / origin.name if target.endswith("/") or len(names) > 1 else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, into)


class Machine:
    """A root folder that systemd has booted."""

    def __init__(self, root, log):
        self.root, self._log = root, log
        self._process = None

    def __enter__(self):
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*NSPAWN, f"--directory={self.root}", "--boot"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        until(self._is_up, within_s=90)
        return self

    def _is_up(self):
        return self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(90)

    def run(self, *words, check=True):
        """Run a command there, as root; the environment is that of a login."""
        first = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[:1]
        if not first:
            return subprocess.CompletedProcess(words, 1, "", "")
        command = ["nsenter", "-t", first[0], "-m", "-p", "-u", "-i", "-C", "env", "-i", f"PATH={PATH}", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def of(self, unit, name):
        """Return a property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def write(self, path, text, mode=0o644):
        """Write a file."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
