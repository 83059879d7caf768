#!/usr/bin/env python3
"""A whole cluster as processes of this machine, all of it on the loopback:

    infra/cluster.py FOLDER-OF-PROGRAMS [--data FOLDER] [--workers 2] [--try SONG]

PostgreSQL, two apis behind a balancer of TCP connections, the workers, and the edge; the first api also serves the files. Debian's package
`postgresql` is all that has to be there beside the programs (`infra/release`, or `./run` with target/release). It shows the addresses and
runs until Ctrl-C, which drains and stops everything. With --try it signs in as a visitor would, pushes SONG, checks what comes back, says
how long each step took, and ends. Where each process of a real cluster runs is for compose and Kubernetes to say; what it is told is the same.
"""

import argparse
import asyncio
import glob
import hashlib
import http.client
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_ports(count):
    """So many ports nobody listens on. They are let go only once all are known, so that none comes twice."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


class Balancer:
    """Hands each connection to the next target in turn, and to another one where a target does not answer."""

    def __init__(self, port, targets):
        self.port, self.targets, self.turn = port, targets, 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        if not self.ready.wait(10):
            raise SystemExit(f"the balancer cannot listen on port {port}")

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.ready.set()
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        for _ in self.targets:
            port = self.targets[self.turn % len(self.targets)]
            self.turn += 1
            try:
                upstream = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                continue
        else:
            writer.close()
            return

        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
                sink.write_eof()
            except OSError:
                pass

        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))
        for end in (writer, upstream[1]):
            end.close()


class Postgres:
    """A PostgreSQL of this cluster alone, on a socket in a folder."""

    def __init__(self, folder):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(re.sub(r"\D", "", path) or 0))
        found = programs[-1] if programs else os.path.dirname(shutil.which("initdb") or "")
        if not os.path.exists(os.path.join(found, "initdb")):
            raise SystemExit("PostgreSQL is not here. As root: apt-get install postgresql")
        self.programs, self.folder, self.process = found, folder, None
        # The server refuses to run as root.
        self.user = {}
        if os.geteuid() == 0:
            account = next((pwd.getpwnam(name) for name in ("postgres", "nobody") if any(one.pw_name == name for one in pwd.getpwall())), None)
            if account is None:
                raise SystemExit("PostgreSQL does not run as root, and there is no account `postgres` or `nobody`.")
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        folder.mkdir(mode=0o700)
        if self.user:
            os.chown(folder, self.user["user"], self.user["group"])

    def _tool(self, *command, **more):
        return subprocess.run([os.path.join(self.programs, command[0]), *command[1:]], cwd=self.folder, check=True, **self.user, **more)

    def start(self):
        self._tool("initdb", "--pgdata=data", "--username=loopmaster", "--auth=trust", "--encoding=UTF8", "--no-locale", stdout=subprocess.DEVNULL)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.programs, "postgres"), "-D", "data", "-k", str(self.folder), "-c", "listen_addresses=", "-c", "max_connections=200"],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.user)
        until = time.monotonic() + 60
        while subprocess.run([os.path.join(self.programs, "pg_isready"), "-q", "-h", str(self.folder), "-U", "loopmaster", "-d", "postgres"]).returncode:
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)
        self._tool("createdb", "-h", str(self.folder), "-U", "loopmaster", "loopmaster")

    def url(self, name="loopmaster"):
        return f"postgres:///{name}?host={self.folder}&user=loopmaster"

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


class Cluster:
    """With `one`, what `loopmaster serve` is by itself instead: one process with SQLite and a worker, and the edge. `keys` are those of another
    cluster whose data this one goes on with; `s3` is the address of an S3 that takes the place of the embedded storage, its bucket made."""

    def __init__(self, programs, folder, workers=2, backend="cpu", one=False, keys=None, s3=None):
        self.programs, self.folder, self.workers, self.one = pathlib.Path(programs).resolve(), pathlib.Path(folder).resolve(), workers, one
        self.processes = {}
        self.steps = []
        self.begun = time.monotonic()
        self.keys = keys = keys or {name: secrets.token_hex(32) for name in ("secret", "edge", "storage", "cookie")}
        self.names = ["api-1"] if one else ["api-1", "api-2", *(f"worker-{number}" for number in range(1, workers + 1))]
        self.edge, self.api, self.api1, self.api2, self.files, *self.metrics = free_ports(5 + len(self.names))
        at = lambda port: f"http://127.0.0.1:{port}"  # noqa: E731
        self.edge_url, self.api_url = at(self.edge), at(self.api)
        self.postgres = None if one else Postgres(self.folder / "postgres")
        # Settings of the machine it runs on must not reach in.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOOPMASTER_", "SPIN_VARIABLE_"))}
        shared = {
            **clean,
            "LOOPMASTER_PUBLIC_URL": at(self.edge), "LOOPMASTER_API_URL": at(self.api), "LOOPMASTER_FILES_URL": s3 or at(self.files),
            **({} if one else {"LOOPMASTER_DATABASE_URL": self.postgres.url()}), "LOOPMASTER_SECRET": keys["secret"], "LOOPMASTER_EDGE__KEYS__A": keys["edge"],
            "LOOPMASTER_STORAGE__ACCESS_KEY": "LMCLUSTER", "LOOPMASTER_STORAGE__SECRET_KEY": keys["storage"],
            "LOOPMASTER_MAIL__FOLDER": str(self.folder / "mail"), "LOOPMASTER_WORKER__BACKEND": backend,
            "XDG_RUNTIME_DIR": str(self.folder), "LOOPMASTER_LOG__FILTER": "info,s3s=off,symphonia=warn,lofty=error,sqlx=error",
        }
        self.environment = {}
        for index, name in enumerate(self.names):
            own = {"LOOPMASTER_DATA": str(self.folder / name), "LOOPMASTER_LISTEN__METRICS": f"127.0.0.1:{self.metrics[index]}"}
            if name.startswith("api"):
                own["LOOPMASTER_LISTEN__API"] = f"127.0.0.1:{self.api1 if name == 'api-1' else self.api2}"
            if name == "api-1" and not s3:
                own["LOOPMASTER_LISTEN__FILES"] = f"127.0.0.1:{self.files}"
            else:
                own["LOOPMASTER_STORAGE__ENDPOINT"] = s3 or at(self.files)
            self.environment[name] = {**shared, **own}
        self.environment["edge"] = {
            **clean,
            "SPIN_VARIABLE_PUBLIC_URL": at(self.edge), "SPIN_VARIABLE_API_URL": at(self.api), "SPIN_VARIABLE_FILES_URL": s3 or at(self.files),
            "SPIN_VARIABLE_EDGE_KEY_ID": "a", "SPIN_VARIABLE_EDGE_KEY": keys["edge"], "SPIN_VARIABLE_COOKIE_KEYS": keys["cookie"],
        }

    def step(self, what):
        """Notes that something is done, and when."""
        self.steps.append((time.monotonic() - self.begun, what))
        print(f"{self.steps[-1][0]:6.1f} s  {what}", file=sys.stderr, flush=True)

    def launch(self, name, *command):
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(command, env=self.environment[name], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def prepare(self):
        """All that is there before the service is."""
        (self.folder / "mail").mkdir(mode=0o700)
        if self.postgres:
            self.postgres.start()
            self.step("PostgreSQL answers")

    def start(self):
        loopmaster = str(self.programs / "loopmaster")
        if self.postgres:
            subprocess.run([loopmaster, "migrate"], env=self.environment["api-2"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
            self.step("the schema is there")
        self.launch("api-1", loopmaster, "serve")
        self.wait("api-1", self.metrics[0], "/readyz")
        for name in self.names[1:]:
            self.launch(name, loopmaster, "serve" if name.startswith("api") else "work")
        self.balancer = Balancer(self.api, [self.api1] if self.one else [self.api1, self.api2])
        manifest = self.programs.parent / "lib/loopmaster/edge/spin.toml"
        self.launch("edge", str(self.programs / "loopmaster-edge-host"), "--manifest", str(manifest if manifest.exists() else ROOT / "edge/spin.toml"),
                    "--listen", f"127.0.0.1:{self.edge}", "--data", str(self.folder / "edge"))
        for index, name in enumerate(self.names):
            self.wait(name, self.metrics[index], "/readyz")
        self.step("the service is ready" if self.one else f"two apis and {self.workers} workers are ready")
        self.wait("edge", self.edge, "/")
        self.step("the edge shows the first page")

    def wait(self, name, port, path):
        until = time.monotonic() + 120
        while True:
            try:
                status, _, _ = request(port, "GET", path)
                if status == 200:
                    return
            except OSError:
                status = "no answer"
            if time.monotonic() > until or self.processes[name].poll() is not None:
                raise SystemExit(f"{name} is not ready ({status}): {(self.folder / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self):
        """The edge first, then workers and apis, which drain, the one with the files at the very end. How each of them ended."""
        ended = {}
        for group in (["edge"], self.names[1:], self.names[:1]):
            running = [name for name in group if name in self.processes and self.processes[name].poll() is None]
            for name in running:
                self.processes[name].terminate()
            for name in running:
                try:
                    ended[name] = self.processes[name].wait(90)
                except subprocess.TimeoutExpired:
                    self.processes[name].kill()
                    ended[name] = "killed after 90 s"
        if self.postgres:
            self.postgres.stop()
        return ended

    def scrape(self):
        """What each process says at /metrics."""
        return {name: request(self.metrics[index], "GET", "/metrics")[2].decode() for index, name in enumerate(self.names)}

    def token(self, address="operator@music.example"):
        """Signs in through the edge with the code of the mail, as a visitor does, and makes a token."""
        jar = {}

        def ask(path, body, method="POST"):
            headers = {"content-type": "application/json", "origin": self.edge_url}
            if jar:
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
            status, received, answer = request(self.edge, method, path, json.dumps(body), headers)
            for line in received.get_all("set-cookie") or []:
                name, _, value = line.split(";")[0].partition("=")
                jar[name] = value
            if status >= 300:
                raise SystemExit(f"{method} {path}: {status} {answer.decode(errors='replace')}")
            return json.loads(answer)

        login = ask("/v1/auth/email", {"email": address, "of_age": True})
        until = time.monotonic() + 30
        while True:
            found = [re.search(r"\b(\d{3}[ \u202f]?\d{3})\b", mail_text(path)) for path in sorted((self.folder / "mail").iterdir())]
            if found and found[-1]:
                break
            if time.monotonic() > until:
                raise SystemExit("no mail with a code arrived within 30 s")
            time.sleep(0.1)
        ask("/v1/auth/email/code", {"login": login["login"], "code": re.sub(r"\D", "", found[-1].group(1))})
        return ask("/v1/me/tokens", {"name": "trial", "scopes": ["uploads", "masters"]})["token"]

    def push(self, token, songs, folder):
        """Has songs mastered, over the balancer. The files that came back."""
        folder.mkdir()
        (self.folder / "token").write_text(token)
        client = {name: value for name, value in os.environ.items() if not name.startswith("LOOPMASTER_")}
        client |= {"XDG_CACHE_HOME": str(self.folder / "client"), "XDG_STATE_HOME": str(self.folder / "client")}
        done = subprocess.run([str(self.programs / "loopmaster"), "push", "--url", self.api_url, "--token-file", str(self.folder / "token"), "-o", str(folder), *map(str, songs)],
                              env=client, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(f"the push ended with {done.returncode}: {done.stdout[-3000:]}")
        return sorted(folder.iterdir())


def mail_text(path):
    import email
    import email.policy

    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain",))
    return f"{message['subject']}\n{body.get_content() if body else ''}"


def request(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("programs", help="folder with loopmaster and loopmaster-edge-host")
    arguments.add_argument("--data", type=pathlib.Path, help="an empty folder that stays [default: a temporary one]")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--backend", default="cpu", choices=["auto", "cpu", "gpu"])
    arguments.add_argument("--try", dest="song", type=pathlib.Path, metavar="SONG")
    given = arguments.parse_args()
    folder = given.data or pathlib.Path(tempfile.mkdtemp(prefix="loopmaster-cluster-"))
    folder.mkdir(mode=0o711, exist_ok=True)
    os.chmod(folder, 0o711)  # PostgreSQL's own account passes through; nothing can be listed
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    cluster = Cluster(given.programs, folder, given.workers, given.backend)
    try:
        cluster.prepare()
        cluster.start()
        if given.song:
            token = cluster.token()
            cluster.step("signed in, and a token made")
            files = cluster.push(token, [given.song], folder / "masters")
            for file in files:
                cluster.step(f"{file.name}: {file.stat().st_size} bytes, SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}")
            if not files:
                raise SystemExit("no master came back")
        else:
            print(f"\n  pages {cluster.edge_url}   api {cluster.api_url}   mails, logs and data in {folder}\n  Ctrl-C drains and stops it.\n", file=sys.stderr)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                while all(process.poll() is None for process in cluster.processes.values()):
                    time.sleep(0.5)
            except KeyboardInterrupt:
                pass
            else:
                dead = [name for name, process in cluster.processes.items() if process.poll() is not None]
                raise SystemExit(f"ended by themselves: {', '.join(dead)}; see the logs in {folder}")
    finally:
        ended = cluster.stop()
        cluster.step(f"stopped: {', '.join(f'{name} {how}' for name, how in ended.items())}")
        if not given.data:
            shutil.rmtree(folder, ignore_errors=True)
    if bad := {name: how for name, how in ended.items() if how != 0}:
        raise SystemExit(f"did not end cleanly: {bad}")


if __name__ == "__main__":
    main()
