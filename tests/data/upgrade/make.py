#!/usr/bin/env python3
"""Makes a data folder as it is after some days of use, with the public API of a given `loopmaster`, and packs it.

    tests/data/upgrade/make.py target/release/loopmaster tests/data/upgrade/93b35a5

writes NAME.tar.gz (the folder) and NAME.json (what a client still holds: ids, tokens, cookies). See README.md beside this file.
"""

import base64
import hashlib
import hmac
import io
import json
import math
import os
import quopri
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import uuid

EDGE_KEY = "0123456789abcdef0123456789abcdef"


def wave(seconds, level=0.25, silence=False):
    """16-bit stereo with a period of 441 samples, so that it packs well; louder and softer in turns, as music is."""
    period = [
        (math.sin(2 * math.pi * n / 441) + 0.5 * math.sin(2 * math.pi * 5 * n / 441) + 0.2 * math.sin(2 * math.pi * 40 * n / 441)) / 1.7
        for n in range(441)
    ]
    steps = [b"".join(struct.pack("<hh", int(32767 * level * gain * v), int(29000 * level * gain * v)) for v in period) for gain in (1.0, 0.5, 0.8, 0.3)]
    data = b"".join(steps[(block // 10) % 4] for block in range(int(seconds * 100)))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 2, 44100, 176400, 4, 16, b"data", len(data))
    return head + data


class Service:
    def __init__(self, program, data, *arguments, **settings):
        self.ports = [free_port(), free_port()]
        environment = {
            "LOOPMASTER_DATA": data,
            "LOOPMASTER_LISTEN__API": f"127.0.0.1:{self.ports[0]}",
            "LOOPMASTER_LISTEN__FILES": f"127.0.0.1:{self.ports[1]}",
            "LOOPMASTER_API_URL": f"http://127.0.0.1:{self.ports[0]}",
            "LOOPMASTER_FILES_URL": f"http://127.0.0.1:{self.ports[1]}",
            "LOOPMASTER_EDGE__KEYS__TEST": EDGE_KEY,
            "LOOPMASTER_STORAGE__KEEP_FREE": "0",
            "LOOPMASTER_LIMITS__PART_BYTES": str(5 << 20),
            "LOOPMASTER_WORKER__BACKEND": "cpu",
            # A receiver that is away: its deliveries wait.
            "LOOPMASTER_WEBHOOKS__EXEMPT": '["127.0.0.1:9"]',
        }
        self.authority = f"127.0.0.1:{self.ports[0]}"
        self.process = subprocess.Popen([program, "serve", *arguments], env={**environment, **settings}, cwd=data, stderr=subprocess.DEVNULL)
        until = time.time() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.authority}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            if time.time() > until or self.process.poll() is not None:
                raise SystemExit("the service does not start")
            time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit("the service did not end well")


class Browser:
    """A browser behind the edge, or with a token a program."""

    def __init__(self, service, name):
        self.service, self.ip = service, hashlib.sha256(name.encode()).hexdigest()[:32]
        self.guest, self.session, self.login, self.token = "gst_" + hashlib.sha256(name.encode()).hexdigest()[:32], "", "", None

    def send(self, method, path, body=None, headers=None, good=True):
        data = b"" if body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if body is not None:
            sent["content-type"] = "application/json"
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        else:
            moment, nonce, request_id = str(int(time.time())), uuid.uuid4().hex, "req_" + uuid.uuid4().hex
            fields = ["lm1", "test", moment, nonce, method, self.service.authority, path, hashlib.sha256(data).hexdigest()]
            fields += [self.ip, self.guest, self.session, self.login, request_id]
            mac = hmac.new(EDGE_KEY.encode(), "\n".join(fields).encode(), hashlib.sha256).hexdigest()
            sent["lm-signature"] = f"v1 test {moment} {nonce} {mac}"
            for header, value in [("lm-ip", self.ip), ("lm-guest", self.guest), ("lm-session", self.session), ("lm-login", self.login), ("lm-request-id", request_id)]:
                if value:
                    sent[header] = value
        request = urllib.request.Request(f"http://{self.service.authority}{path}", data=data if data or method != "GET" else None, method=method, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                for header, field in [("lm-set-session", "session"), ("lm-set-login", "login")]:
                    if answer.headers[header]:
                        setattr(self, field, answer.headers[header].split()[0])
                return json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            text = refused.read().decode()
            if good:
                raise SystemExit(f"{method} {path}: {refused.code} {text}") from None
            return json.loads(text)

    def upload(self, name, content, only=None, finish=True, **more):
        upload = self.send("POST", "/v1/uploads", {"name": name, "bytes": len(content), "type": "audio/wav", **more})
        numbers = only or list(range(1, upload["parts"] + 1))
        urls = self.send("POST", f"/v1/uploads/{upload['id']}/parts", {"numbers": numbers})["urls"]
        parts, size = [], upload["part_bytes"]
        for number in numbers:
            part = content[(number - 1) * size : number * size]
            with urllib.request.urlopen(urllib.request.Request(urls[str(number)], data=part, method="PUT", headers={"content-type": ""}), timeout=60) as answer:
                parts.append({"number": number, "etag": answer.headers["etag"].strip('"')})
        if not finish:
            return upload
        return self.send("POST", f"/v1/uploads/{upload['id']}/complete", {"parts": parts})

    def wait(self, master, state):
        until = time.time() + 300
        while True:
            seen = self.send("GET", f"/v1/masters/{master}")
            if seen["state"] == state:
                return seen
            if seen["state"] in ("done", "failed", "cancelled") or time.time() > until:
                raise SystemExit(f"{master} is {seen['state']}, not {state}: {seen.get('error')}")
            time.sleep(0.2)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def code_of(data, email):
    """The six digits of the last letter to an address."""
    until = time.time() + 60
    folder = os.path.join(data, "mail")
    while time.time() < until:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as letter:
                text = quopri.decodestring(letter.read().encode()).decode("utf-8", "replace")
            found = re.search(r"Your code: (\d{6})", text)
            if name.endswith(".eml") and f"To: {email}" in text and found:
                return found.group(1)
        time.sleep(0.1)
    raise SystemExit("no letter came")


def main():
    program, target = os.path.abspath(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as data:
        held = {"edge_key": EDGE_KEY, "made_at": int(time.time() * 1000)}
        service = Service(program, data)
        short, settings = wave(2), {"formats": ["flac16"]}

        guest = Browser(service, "guest")
        finished = guest.upload("finished.wav", short, settings=settings)["master"]
        broken = guest.upload("broken.wav", short[:44] + bytes(7) + b"\xff" * 64, settings=settings)["master"]
        guest.wait(finished, "done")
        failed = guest.wait(broken, "failed")
        guest_share = guest.send("POST", f"/v1/masters/{finished}/shares")["url"].rsplit("/", 1)[1]
        held["guest"] = {"ip": guest.ip, "guest": guest.guest, "finished": finished, "failed": broken, "error": failed["error"]["code"], "share": guest_share}

        email = "ana@example.com"
        ana = Browser(service, "ana")
        login = ana.send("POST", "/v1/auth/email", {"email": email, "of_age": True})["login"]
        user = ana.send("POST", "/v1/auth/email/code", {"login": login, "code": code_of(data, email)})["user"]["id"]
        ana.login = ""
        token = ana.send("POST", "/v1/me/tokens", {"name": "studio", "scopes": ["uploads", "masters", "account"]})
        hook = ana.send("POST", "/v1/me/webhooks", {"url": "http://127.0.0.1:9/hook", "events": ["master.done"]})
        batch = ana.send("POST", "/v1/batches", {"name": "Single", "album": True, "tracks": 2})["id"]
        tracks = [ana.upload(f"{at} side.wav", wave(2, level), settings=settings, batch=batch, position=at)["master"] for at, level in [(1, 0.3), (2, 0.2)]]
        for track in tracks:
            ana.wait(track, "done")
        zipped = ana.send("POST", "/v1/zips", {"batch": batch})
        share = ana.send("POST", f"/v1/masters/{tracks[0]}/shares")["url"].rsplit("/", 1)[1]
        program_of = Browser(service, "program")
        program_of.token = token["token"]
        grant = program_of.send("POST", "/v1/me/grants", {"files": 3, "bytes": 1 << 20})
        once = {"name": "once.wav", "bytes": 1000, "type": "audio/wav"}
        first = program_of.send("POST", "/v1/uploads", once, {"idempotency-key": "once"})
        ticket = ana.send("POST", "/v1/contact", {"topic": "question", "email": email, "message": "When does the master of my record arrive?"})["ticket"]
        held["account"] = {
            "ip": ana.ip, "guest": ana.guest, "user": user, "email": email, "session": ana.session, "token": token["token"],
            "webhook": hook["id"], "batch": batch, "tracks": tracks, "zip": zipped["url"].split(service.authority, 1)[1],
            "zip_bytes": zipped["bytes"], "share": share, "grant": grant["grant"], "ticket": ticket,
            "once": {"key": "once", "body": once, "id": first["id"]},
        }
        artifacts = ana.send("GET", f"/v1/masters/{tracks[0]}")["artifacts"]
        held["account"]["artifact"] = next({key: one[key] for key in ("id", "bytes", "sha256")} for one in artifacts if one["kind"] == "master")
        service.stop()

        # Without a worker: what waits, and what is on its way.
        service = Service(program, data, "--no-worker")
        guest.service = ana.service = service
        held["account"]["waiting"] = ana.upload("waiting.wav", wave(2), settings=settings)["master"]
        long = wave(31)
        begun = guest.upload("unfinished.wav", long, only=[1], finish=False, settings=settings, fingerprint="unfinished")
        held["guest"]["unfinished"] = {"id": begun["id"], "bytes": len(long), "part_bytes": begun["part_bytes"], "parts": begun["parts"]}
        held["guest"]["unfinished"]["sha256"] = hashlib.sha256(long).hexdigest()
        held["guest"]["unfinished"]["tail"] = base64.b64encode(long[begun["part_bytes"] :][:64]).decode()
        time.sleep(1)
        service.stop()

        pack(data, target + ".tar.gz")
        with open(target + ".json", "w", encoding="utf-8") as out:
            json.dump(held, out, indent=2)
            out.write("\n")


def pack(folder, path):
    """Names in order and without the owner's: the same folder gives the same file but for its clock."""

    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        for name in sorted(os.listdir(folder)):
            if name != "work":
                archive.add(os.path.join(folder, name), name, filter=plain)


if __name__ == "__main__":
    main()
