"""Applications of the other two interfaces, served whole: ASGI 2, and WSGI on threads."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.support.process import running, serving

ASGI2 = """
    class app:
        def __init__(self, scope):
            self.scope = scope

        async def __call__(self, receive, send):
            if self.scope["type"] == "lifespan":
                await receive()
                print("app: started", flush=True)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                print("app: stopped", flush=True)
                await send({"type": "lifespan.shutdown.complete"})
                return
            event = await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": self.scope["path"].encode() + event["body"]})
"""

FLASK = """
    from flask import Flask, Response, request

    app = Flask(__name__)


    @app.post("/echo/<name>")
    def echo(name):
        return {"name": name, "query": request.args["q"], "body": request.get_data(as_text=True),
                "agent": request.headers["User-Agent"], "form": request.form.to_dict(),
                "url": request.base_url, "client": request.remote_addr}


    @app.get("/stream")
    def stream():
        return Response((f"{number}\\n" for number in range(3)), mimetype="text/plain")


    @app.get("/fail")
    def fail():
        raise ValueError("on purpose")
"""

DJANGO = """
    import sys

    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse, JsonResponse
    from django.urls import path

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="for the test", DATA_UPLOAD_MAX_MEMORY_SIZE=None)


    def upload(request):
        total = 0
        while piece := request.read(65536):
            total += len(piece)
        return JsonResponse({"total": total, "path": request.get_full_path(), "secure": request.is_secure()})


    urlpatterns = [path("upload", upload), path("", lambda request: HttpResponse("hello"))]
    app = get_wsgi_application()
"""

WSGI = """
    import itertools
    import sys
    import threading
    from pathlib import Path

    together = threading.Barrier(3)


    class Endless:
        def __iter__(self):
            return itertools.repeat(b"x" * 65536)

        def close(self):
            print("app: closed", flush=True)


    def app(environ, start_response):
        path, body = environ["PATH_INFO"], environ["wsgi.input"]
        if path == "/endless":
            start_response("200 OK", [])
            return Endless()
        if path == "/upload":
            print("app: reads", flush=True)
            try:
                body.read()
            except OSError as exc:
                print("app:", type(exc).__name__, flush=True)
                raise
        if path == "/together":
            together.wait(20)
        if path == "/bad-header":
            start_response("200 OK", [("X-A", "a\\r\\nb")])
            return [b"x"] * 100
        if path == "/lines":
            out = [body.readline(4), body.readline(), *body.readlines(), body.read()]
        elif path == "/errors":
            print("app: an error of mine", file=environ["wsgi.errors"], flush=True)
            out = []
        else:
            out = [repr([environ[key] for key in ("SCRIPT_NAME", "PATH_INFO", "SERVER_NAME", "SERVER_PORT")]).encode()]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"|".join(out)]
"""


@pytest.mark.parametrize("flags", [(), ("--interface", "asgi2")])
def test_asgi2(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with serving(tmp_path, ASGI2, *flags) as server:
        with server.connect() as client:
            client.request("POST", "/a", body=b"bc")
            assert client.response().text == "/abc"
        server.stop()
        lines = server.stdout.all()
        assert (lines[0], lines[-1]) == ("app: started", "app: stopped")


@pytest.mark.parametrize("source", [FLASK, DJANGO, WSGI], ids=["flask", "django", "plain"])
def test_a_wsgi_application_is_recognised_and_never_served_by_surprise(tmp_path: Path, source: str) -> None:
    with serving(tmp_path, source, ready=False) as server:
        assert server.wait() == 3
        assert server.stderr.all()[-1].endswith("If it is one say --interface wsgi")


def test_flask(tmp_path: Path) -> None:
    with serving(tmp_path, FLASK, "--interface", "wsgi", shameful=True) as server, server.connect() as client:
        client.request("POST", "/echo/gr%C3%BCn?q=%2B", "User-Agent: test", body=b"body")
        seen = client.response().json()
        assert seen["client"] == "127.0.0.1"
        assert (seen["name"], seen["query"], seen["body"], seen["agent"]) == ("grün", "+", "body", "test")
        assert seen["url"] == "http://localhost/echo/grün"
        # A body of unknown length is one too.
        client.request(
            "POST",
            "/echo/x?q=1",
            "User-Agent: test",
            "Content-Type: application/x-www-form-urlencoded",
            "Transfer-Encoding: chunked",
        )
        client.send(b"3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n")
        assert client.response().json()["form"] == {"a": "1", "b": "2"}
        assert client.get("/stream").text == "0\n1\n2\n"
        assert client.get("/fail").status == 500
        assert client.get("/nowhere").status == 404
        assert server.stop() == -signal.SIGTERM


def test_django_reads_a_large_upload_in_pieces(tmp_path: Path) -> None:
    flags = ("--interface", "wsgi", "--root-path", "/api")
    with serving(tmp_path, DJANGO, *flags) as server, server.connect() as client:
        client.request("POST", "/upload?a=b", body=b"x" * 3_000_000)
        seen = client.response().json()
        assert seen == {"total": 3_000_000, "path": "/api/upload?a=b", "secure": False}
        assert client.get("/").text == "hello"


def test_the_environment_of_a_request(tmp_path: Path, socket_path: Path) -> None:
    flags = ("--interface", "wsgi", "--root-path", "/api")
    with serving(tmp_path, WSGI, *flags) as server:
        assert server.get("/a%20b").text == repr(["/api", "/a b", "127.0.0.1", str(server.port)])
        assert server.get("/errors").status == 200
        server.stderr.wait_for("app: an error of mine")
    with serving(tmp_path, WSGI, *flags, "--uds", str(socket_path)) as server:
        assert server.get("/").text == repr(["/api", "/", "localhost", "80"])


def test_the_body_is_a_file(tmp_path: Path) -> None:
    with serving(tmp_path, WSGI, "--interface", "wsgi") as server, server.connect() as client:
        client.request("POST", "/lines", body=b"first\nsecond\nthird")
        assert client.response().body == b"firs|t\n|second\n|third|"
        client.request("POST", "/lines")
        assert client.response().body == b"||"


def test_requests_run_beside_each_other_on_threads(tmp_path: Path) -> None:
    with serving(tmp_path, WSGI, "--interface", "wsgi", "--wsgi-threads", "3") as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.request("GET", "/together")
        assert [client.response().status for client in clients] == [200, 200, 200]


@pytest.mark.parametrize("told", ["raise", "ignore"])
def test_a_client_that_leaves_frees_its_thread(tmp_path: Path, told: str) -> None:
    flags = ("--interface", "wsgi", "--wsgi-threads", "1", "--send-after-disconnect", told)
    with serving(tmp_path, WSGI, *flags) as server:
        with server.connect() as client:
            client.request("GET", "/endless")
            client.head()
        server.stdout.wait_for("app: closed")
        with server.connect() as client:
            client.request("POST", "/upload", "Content-Length: 10")
            client.send(b"12345")
            server.stdout.wait_for("app: reads")
        server.stdout.wait_for("app: ClientGone")
        assert server.get("/").status == 200
        assert server.stop() == -signal.SIGTERM
        assert not any("Exception" in line for line in server.stderr.all())


def test_a_response_that_cannot_be_sent_frees_its_thread(tmp_path: Path) -> None:
    flags = ("--interface", "wsgi", "--wsgi-threads", "1")
    with serving(tmp_path, WSGI, *flags, shameful=True) as server:
        for _ in range(2):
            assert server.get("/bad-header").status == 500
        assert server.get("/").status == 200


def test_without_a2wsgi_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def app(environ, start_response): ...\n")
    (tmp_path / "hidden.py").write_text(
        "import sys\nsys.modules['a2wsgi'] = None\nfrom pronghorn.cli import main\nmain()\n"
    )
    with running(
        tmp_path, [sys.executable, "hidden.py", "main:app", "--interface", "wsgi", "--port", "0"]
    ) as server:
        assert server.wait() == 2
        (line,) = server.stderr.all()
    assert line == (
        "pronghorn: error: --interface: a WSGI application needs a2wsgi, which is not installed. Install pronghorn[wsgi]"
    )
