"""--mode=watch: the page of a run on a web server of this machine, also while the run trains.

The address holds a secret word, so that other users and web sites do not see the page. Served are the page
and the videos that it shows, nothing else.
"""

import hashlib
import http.server
import mimetypes
import pathlib
import re
import secrets
import shutil
import signal
import threading

from tal_jax import report_page
from tal_jax.errors import DataError
from tal_jax.page import recordings, write
from tal_jax.run_config import trained_run
from tal_jax.systems import require_valid

WATCHED = ("config.json", "metrics.jsonl", "detections.json")  # files of a run, which it replaces or adds to
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def watch(config, workdir, host="127.0.0.1", port=0, media="", said=(), started=lambda server: None):
    """Serves the page of a run until Ctrl-C.

    Args:
      config: the run's config.
      workdir: of a run that has begun.
      host: name or number of an interface of this machine; with another one than 127.0.0.1 other machines
        can open the page.
      port: 0 takes a free one.
      media: folder of videos and sounds that belong to the recordings.
      said: fields that flags name, see `run_config.trained_run`.
      started: is called with the server once it listens.

    Raises:
      DataError: the folder holds no run, or nothing can listen at the address.
    """
    require_valid(config, training=False)
    if not (pathlib.Path(workdir) / "config.json").exists():
        raise DataError(f"{workdir} holds no run; begin its training first, or name another --workdir.")
    watched = Watched(trained_run(config, workdir, said)[0], pathlib.Path(workdir), media)
    watched.page()  # raises DataError now, not once a visitor
    word = secrets.token_urlsafe(16)
    handler = type("Handler", (_Handler,), {"watched": watched, "word": word})
    try:
        server = http.server.ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        what_to_do = "choose another --host or --port"
        raise DataError(f"Nothing can listen at {host}:{port} ({error}); {what_to_do}.") from error
    server.daemon_threads = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how a visitor ends it
    print(f"Open http://{host}:{server.server_port}/{word}/ (Ctrl-C ends it).", flush=True)
    started(server)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


class Watched:
    """The page of a run as its files are now.

    Args:
      config: of the run.
      workdir: pathlib.Path of its folder.
      media: see `watch`.
    """

    def __init__(self, config, workdir, media):
        self._config, self._workdir, self._media = config, workdir, media
        self._made, self._text, self._lock = None, "", threading.Lock()
        self.files = []  # paths of the videos and sounds, in the order of their numbers

    def state(self):
        """A text that changes when the run does."""
        found = [self._workdir / name for name in WATCHED]
        stats = [path.stat() for path in found if path.exists()]
        return hashlib.sha256(repr([(s.st_mtime_ns, s.st_size) for s in stats]).encode()).hexdigest()[:16]

    def page(self):
        """The HTML of the page, made anew if the run has changed."""
        with self._lock:
            state = self.state()
            if state != self._made:
                content = report_page.content_as_it_stands(self._config, self._workdir, self._media)
                known = recordings.media_of(self._config, self._media)
                shown = [row for row in content["recordings"] if "media" in row]
                for number, row in enumerate(shown):
                    row["media"]["src"] = f"media/{number}"
                self.files = [known[row["name"]] for row in shown]
                self._text, self._made = write.page_text(content | {"state": state}), state
            return self._text


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers under the secret word (`word`): the page, its state, and media by number (of `watched`)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        begin, _, asked = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(begin.encode(), self.word.encode()):
            return self._text(404, "Nothing is here.")
        number = re.fullmatch(r"media/(\d{1,9})", asked)
        try:
            if asked == "":
                self._text(200, self.watched.page(), "text/html; charset=utf-8")
            elif asked == "state":
                self._text(200, self.watched.state())
            elif number and int(number[1]) < len(self.watched.files):
                self._media(pathlib.Path(self.watched.files[int(number[1])]))
            else:
                self._text(404, "Nothing is here.")
        except (DataError, OSError) as error:
            if not isinstance(error, ConnectionError):  # the visitor has left
                self._text(503, str(error))

    def _text(self, code, text, kind="text/plain; charset=utf-8"):
        body = text.encode()
        self._head(code, {"Content-Type": kind, "Content-Length": len(body), "Cache-Control": "no-store"})
        self.wfile.write(body)

    def _media(self, path):
        """Sends a file, or the part of it that a player asks for."""
        with path.open("rb") as file:
            size, asked = path.stat().st_size, RANGE.match(self.headers.get("Range", ""))
            first, last = 0, size - 1
            if asked and asked[1]:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
            elif asked and asked[2]:
                first = max(0, size - int(asked[2]))
            if first > last:
                return self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": 0})
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            fields = {"Content-Type": kind, "Content-Length": last - first + 1, "Accept-Ranges": "bytes"}
            if asked:
                fields["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._head(206 if asked else 200, fields)
            file.seek(first)
            shutil.copyfileobj(_Part(file, last - first + 1), self.wfile)

    def _head(self, code, fields):
        self.send_response(code)
        fields |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in fields.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_):
        """Says nothing of each request."""


class _Part:
    """The next bytes of an open file, and no more. file: open for reading; size: how many bytes."""

    def __init__(self, file, size):
        self._file, self._left = file, size

    def read(self, size):
        """At most `size` bytes; b"" at the end of the part."""
        found = self._file.read(min(size, self._left))
        self._left -= len(found)
        return found
