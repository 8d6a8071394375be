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
import socket
import threading

from tal_jax import planned_run, report_page
from tal_jax.errors import DataError
from tal_jax.page import content, recordings, run_facts, write
from tal_jax.run_config import trained_run
from tal_jax.systems import require_valid

METRICS = "metrics.jsonl"  # to which a training adds, often
RESULTS = ("config.json", "detections.json")  # which begin a run, and end an evaluation
EVERYWHERE = ("0.0.0.0", "::")
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})$")
IDLE_SEC = 30.0  # that a visitor may be silent


def watch(config, workdir, host="127.0.0.1", port=0, media="", said=(), started=lambda server: None):
    """Serves the page of a run until Ctrl-C.

    Args:
      config: the run's config.
      workdir: of the run, which may begin later.
      host: name or number of an interface of this machine; with another one than 127.0.0.1 other machines
        can open the page.
      port: 0 takes a free one.
      media: folder of videos and sounds that belong to the recordings.
      said: fields that flags name, see `run_config.trained_run`.
      started: is called with the server once it listens.

    Raises:
      DataError: the run is of another config, or nothing can listen at the address.
    """
    require_valid(config, training=False)
    report_page.require_media(media)
    if not host:
        raise DataError("--host is empty; name an address of this machine, such as 127.0.0.1.")
    watched = Watched(config, pathlib.Path(workdir), media, said)
    watched.page()  # what is wrong with the run is said before anyone opens the page
    word = secrets.token_urlsafe(16)
    handler = type("Handler", (_Handler,), {"watched": watched, "word": word})
    try:
        server = http.server.ThreadingHTTPServer((host, port), handler)
    except (OSError, TypeError, UnicodeError) as error:
        what_to_do = "choose another --host or --port"
        raise DataError(f"Nothing can listen at {host}:{port} ({error}); {what_to_do}.") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how a visitor ends it
    name = socket.gethostname() if host in EVERYWHERE else host
    print(f"Open http://{name}:{server.server_port}/{word}/ (Ctrl-C ends it).", flush=True)
    started(server)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


class Watched:
    """The page of a run as its files are now. Args: see `watch`."""

    def __init__(self, config, workdir, media, said):
        self._config, self._workdir, self._media, self._said = config, workdir, media, said
        self._lock, self._of_results, self._content = threading.Lock(), None, {}
        self._of_page, self._text = None, ""
        self.files = []  # paths of the videos and sounds by number: a page that is still open keeps its own
        self._labels = None  # the annotation file; "": none; None: not known yet

    def state(self):
        """A text that changes when the run does."""
        return self._state_of(*RESULTS, METRICS)

    def page(self):
        """The HTML of the page. What the run has changed is made anew: recordings and scores seldom."""
        with self._lock:
            config = self._config_of_run() if self._labels is None else None
            state, of_results = self.state(), self._state_of(*RESULTS)
            if of_results != self._of_results:
                # Where the run writes meanwhile, the states are older than what is read: it is read again.
                self._content = self._read(config or self._config_of_run())
                self._of_results = of_results
            if state != self._of_page:
                self._content["training"] = run_facts.training(self._workdir / METRICS)
                self._text = write.page_text(self._content | {"state": state})
                self._of_page = state
            return self._text

    def _state_of(self, *names):
        paths = [self._workdir / name for name in names] + ([self._labels] if self._labels else [])
        stats = [path.stat() for path in paths if path.exists()]
        return hashlib.sha256(repr([(s.st_mtime_ns, s.st_size) for s in stats]).encode()).hexdigest()[:16]

    def _config_of_run(self):
        """The config of the run, whose annotation file is noted; None of a run that has not begun."""
        if not (self._workdir / "config.json").exists():
            return None
        config = planned_run.of_run(self._config, self._workdir, self._said)
        config = planned_run.scored_config(trained_run(config, self._workdir, self._said)[0])
        self._labels = pathlib.Path(config.data.annotations) if config.data.annotations else ""
        return config

    def _read(self, config):
        """The content of the page; of a run that has not begun, without config, that there is no step yet."""
        if not config:
            note = f"No step yet: {self._workdir} holds no run. The page follows it once it begins."
            return content.empty(self._workdir.resolve().name, note)
        made = report_page.content_as_it_stands(config, self._workdir, self._media)
        known = recordings.media_of(config, self._media)
        for row in made["recordings"]:
            if "media" in row:
                path = pathlib.Path(known[row["name"]])
                if path not in self.files:
                    self.files.append(path)
                row["media"]["src"] = f"media/{self.files.index(path)}"
        return made


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers under the secret word (`word`): the page, its state, and media by number (of `watched`)."""

    protocol_version, timeout, _begun = "HTTP/1.1", IDLE_SEC, False

    def do_GET(self):
        self._begun = False
        begin, slash, asked = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(begin.encode(), self.word.encode()):
            return self._text(404, "Nothing is here.")
        number, files = re.fullmatch(r"media/(\d{1,9})", asked), self.watched.files
        try:
            if not slash:
                self._head(301, {"Location": f"/{self.word}/", "Content-Length": 0})
            elif asked == "":
                self._text(200, self.watched.page(), "text/html; charset=utf-8")
            elif asked == "state":
                self._text(200, self.watched.state())
            elif number and int(number[1]) < len(files):
                self._media(files[int(number[1])])
            else:
                self._text(404, "Nothing is here.")
        except ConnectionError:  # the visitor has left
            self.close_connection = True
        except Exception as error:  # the training goes on whatever a page lacks
            self.close_connection = True
            if not self._begun:
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
            part = _Part(file, last - first + 1)
            shutil.copyfileobj(part, self.wfile)
            self.close_connection |= part.left > 0  # the file was cut meanwhile

    def _head(self, code, fields):
        self._begun = True
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
        self._file, self.left = file, size

    def read(self, size):
        """At most `size` bytes; b"" at the end of the part."""
        found = self._file.read(min(size, self.left))
        self.left -= len(found)
        return found
