"""A small Hugging Face hub on this machine: what its client asks for in order to push a model and to fetch it again.

It keeps files in memory, takes large ones by the protocol of Git LFS, and refuses to write without the token. Not
spoken here: xet, the hub's own protocol of chunks, which its client takes where ``hf_xet`` is installed and does not
leave for LFS by itself (``HF_HUB_DISABLE_XET=1`` does).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """One request. Files of all repositories, uploaded objects and the requests so far belong to the class."""

    protocol_version = "HTTP/1.1"
    files: dict[str, dict[str, bytes]]
    private: dict[str, bool]
    objects: dict[str, bytes]
    asked: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._note()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._say(401, {"error": "Invalid username or password."})
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
            known = name in self.files
            self.files.setdefault(name, {})
            self.private.setdefault(name, wanted.get("visibility") == "private" or bool(wanted.get("private")))
            return self._say(409 if known else 200, {"url": f"{self._address()}/{name}"})
        if path == "/api/validate-yaml":
            return self._say(200, {"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            modes = [self._mode(one) for one in json.loads(body)["files"]]
            return self._say(200, {"files": modes})
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            wanted = [self._action(one) for one in json.loads(body)["objects"]]
            return self._say(200, {"transfer": "basic", "objects": wanted})
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
            url = f"{self._address()}/{found[1]}/commit/{self._commit_of(found[1])}"
            return self._say(200, {"success": True, "commitUrl": url, "commitOid": self._commit_of(found[1])})
        return self._say(404, {"error": path})

    def do_PUT(self) -> None:
        body, oid = self.rfile.read(int(self.headers["Content-Length"])), self.path.rpartition("/")[2]
        self._note()
        if hashlib.sha256(body).hexdigest() != oid:
            return self._say(400, {"error": "these are not the bytes that were announced"})
        self.objects[oid] = body
        return self._say(200, {})

    def do_GET(self) -> None:
        self._note()
        path = self.path.partition("?")[0]
        if (found := re.match(r"/api/models/([^/]+/[^/]+)", path)) and found[1] not in self.files:
            return self._say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
            files, name = self.files[found[1]], found[1]
            siblings = [{"rfilename": file} for file in files]
            return self._say(200, {"id": name, "sha": self._commit_of(name), "private": False, "siblings": siblings})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+", path):
            sizes = {file: len(body) for file, body in self.files[found[1]].items()}
            return self._say(200, [{"type": "file", "path": f, "size": n, "oid": "0" * 40} for f, n in sizes.items()])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            body = self.files.get(found[1], {}).get(found[2])
            if body is None:
                reason = "EntryNotFound" if found[1] in self.files else "RepoNotFound"
                return self._say(404, {"error": path}, {"X-Error-Code": reason})
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            return self._say(200, body, {"ETag": etag, "X-Repo-Commit": self._commit_of(found[1])})
        return self._say(404, {"error": path})

    do_HEAD = do_GET

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".safetensors")
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self._address()}/lfs/{wanted['oid']}"}}}

    def _commit(self, name: str, operations: list[dict[str, Any]]) -> None:
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                self.files[name][value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                self.files[name][value["path"]] = self.objects[value["oid"]]

    def _commit_of(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.files[name].items())).encode()).hexdigest()

    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def _note(self) -> None:
        self.asked.append(f"{self.command} {self.path.partition('?')[0]}")

    def _say(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are kept in ``asked``, nothing is printed."""


@contextmanager
def local_hub() -> Iterator[tuple[str, type[Hub]]]:
    """The address of a new, empty hub, and its class, which holds what it has."""
    state: dict[str, Any] = {"files": {}, "private": {}, "objects": {}, "asked": []}
    kind = type("Hub", (Hub,), state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
