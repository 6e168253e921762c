"""A local server of a registry folder, by TF Hub's hosting protocol.

Unlike a static server it shows the documentation where hub.load finds the archive, and
leads from a name without a version to the latest one.
"""

import html
import http
import http.server
import os
import pathlib
import shutil
import urllib.parse
from collections.abc import Mapping

from tfdl.engine import errors, files
from tfdl.hub import folder, handles

FORMAT = "tf-hub-format"
_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"


class Server(http.server.ThreadingHTTPServer):
    """Serves the modules of a folder.

    Args:
        root: the registry.
        host: the address to listen at.
        port: the port; 0 takes a free one.

    Raises:
        UserError: the folder is missing or the port is taken.
    """

    daemon_threads = True

    def __init__(self, root: files.PathLike, host: str = "127.0.0.1", port: int = 0):
        self.root = pathlib.Path(root)
        if not self.root.is_dir():
            raise errors.UserError(f"{root}: no such folder")
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise errors.UserError(f"cannot listen at {host}:{port}: {error}") from None

    @property
    def address(self) -> str:
        """Returns http://host:port."""
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def handle_error(self, request, client_address):
        """Stays silent when a client goes away."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request. Paths become files through checked handles only."""

    server: Server
    timeout = 60

    def do_GET(self):
        """Sends a module, a page or the list of modules."""
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = urllib.parse.unquote(url.path).strip("/")
        if not name:
            self._send_text(_index(self.server.root), _HTML)
            return
        kind = next((end for end in (".tar.gz", ".md") if name.endswith(end)), "")
        handle = _parse(name.removesuffix(kind))
        if handle is None:
            self._redirect_to_latest(name, url.query)
            return
        where = folder.paths(self.server.root, handle)
        if not where["archive"].is_file():
            self._not_found(f"there is no module {handle} here")
            return
        self._send_module(where, kind, query)

    do_HEAD = do_GET

    def _send_module(
        self, where: Mapping[str, pathlib.Path], kind: str, query: Mapping[str, str]
    ) -> None:
        wanted = query.get(FORMAT)
        if not kind and wanted not in (None, "compressed"):
            self._not_found(f"{FORMAT}={wanted[:40]}: modules are compressed here")
        elif kind == ".tar.gz" or wanted == "compressed":
            self._send_archive(where["archive"])
        else:
            self._send_text(files.read_text(where["page"]), _TEXT)

    def _send_archive(self, path: pathlib.Path) -> None:
        with open(path, "rb") as source:
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", "application/gzip")
            self.send_header("Content-Length", str(os.fstat(source.fileno()).st_size))
            self.send_header("Cache-Control", "public, max-age=31536000, immutable")
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(source, self.wfile, 1 << 20)

    def _redirect_to_latest(self, name: str, query: str) -> None:
        handle = _parse(f"{name}/1")
        found = folder.versions(self.server.root, handle) if handle else ()
        if not found:
            self._not_found("no such page; / lists the modules")
            return
        target = f"/{handle.publisher}/{handle.name}/{found[-1]}"
        self.send_response(http.HTTPStatus.FOUND)
        self.send_header("Location", f"{target}?{query}" if query else target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _not_found(self, message: str) -> None:
        self._send_text(message + "\n", _TEXT, http.HTTPStatus.NOT_FOUND)

    def _send_text(
        self, text: str, kind: str, status: http.HTTPStatus = http.HTTPStatus.OK
    ) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _parse(name: str) -> handles.Handle | None:
    try:
        return handles.parse(name)
    except errors.UserError:
        return None


def _index(root: pathlib.Path) -> str:
    rows = [
        f'<li><a href="/{html.escape(str(handle))}">{html.escape(str(handle))}</a></li>'
        for handle in folder.modules(root)
    ]
    body = "\n".join(rows) or "<li>nothing published yet</li>"
    return f"<!doctype html><title>Modules</title><ul>\n{body}\n</ul>\n"
