"""Real frameworks, with what each of them leans on the server for.

They are imported in the server's process only. What they warn of is their business, so that process runs without
``-W error``.
"""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import ServerProcess, running

FASTAPI = """
    import asyncio
    from contextlib import asynccontextmanager

    from fastapi import BackgroundTasks, FastAPI, Request
    from pydantic import BaseModel
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import FileResponse, StreamingResponse


    def say(*words):
        print("app:", *words, flush=True)


    @asynccontextmanager
    async def lifespan(app):
        say("started")
        yield {"greeting": "hello from the lifespan"}
        say("stopped")


    app = FastAPI(lifespan=lifespan)


    class Tagging(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["x-tag"] = request.url.path
            return response


    app.add_middleware(Tagging)


    class Item(BaseModel):
        name: str
        price: float


    @app.get("/")
    async def index(request: Request):
        return {"greeting": request.state.greeting}


    @app.post("/items")
    async def items(item: Item):
        return {"total": item.price * 2}


    @app.get("/sync")
    def in_a_thread():
        return "threaded"


    @app.post("/upload")
    async def upload(request: Request):
        return {"size": sum([len(piece) async for piece in request.stream()])}


    @app.get("/file")
    async def file():
        return FileResponse(__file__)


    @app.get("/stream")
    async def stream(request: Request):
        async def numbers():
            for number in range(3):
                yield f"{number}\\n"
                await asyncio.sleep(0)
        return StreamingResponse(numbers(), media_type="text/plain")


    @app.get("/endless")
    async def endless():
        async def ticks():
            try:
                while True:
                    yield "tick\\n"
                    await asyncio.sleep(0.01)
            finally:
                say("endless ended")
        return StreamingResponse(ticks(), media_type="text/event-stream")


    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(say, "in the background")
        return "done"


    @app.get("/fails")
    async def fails():
        raise ValueError("on purpose")
    """

STARLETTE = """
    import asyncio

    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Mount, Route


    def say(*words):
        print("app:", *words, flush=True)


    async def slowly(name):
        await asyncio.sleep(0.05)
        say("finished", name)


    async def background(request):
        return PlainTextResponse("answered", background=BackgroundTask(slowly, "the task"))


    async def endless(request):
        async def ticks():
            try:
                while True:
                    yield b"x" * 1000
                    await asyncio.sleep(0)
            finally:
                say("endless ended")
        return StreamingResponse(ticks())


    async def where(request):
        return JSONResponse({
            "url": str(request.url),
            "root_path": request.scope["root_path"],
            "link": str(request.url_for("where")),
            "spec": request.scope["asgi"]["spec_version"],
        })


    async def disconnected(request):
        try:
            await request.body()
        except ClientDisconnect:
            say("the client left")
            raise


    app = Starlette(routes=[
        Route("/background", background),
        Route("/endless", endless),
        Route("/where", where, name="where"),
        Route("/disconnected", disconnected, methods=["POST"]),
        Mount("/mounted", routes=[Route("/where", where)]),
    ])
    """

DJANGO = """
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    settings.configure(SECRET_KEY="only for a test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True)
    django.setup()


    def index(request):
        return HttpResponse("hello from a synchronous view")


    async def details(request):
        return JsonResponse({
            "path": request.path,
            "query": request.GET.get("q"),
            "secure": request.is_secure(),
            "remote": request.META["REMOTE_ADDR"],
            "body": request.body.decode(),
        })


    async def stream(request):
        async def pieces():
            for number in range(3):
                yield f"{number}\\n"
        return StreamingHttpResponse(pieces(), content_type="text/plain")


    urlpatterns = [path("", index), path("details", details), path("stream", stream)]
    app = get_asgi_application()
    """

LITESTAR = """
    from litestar import Litestar, get, post
    from litestar.response import Stream


    @get("/")
    async def index() -> dict[str, str]:
        return {"greeting": "hello"}


    @post("/echo")
    async def echo(data: dict[str, int]) -> dict[str, int]:
        return {name: value + 1 for name, value in data.items()}


    @get("/stream")
    async def stream() -> Stream:
        async def pieces():
            for number in range(3):
                yield f"{number}\\n"
        return Stream(pieces())


    app = Litestar([index, echo, stream])
    """

QUART = """
    from quart import Quart, request

    app = Quart(__name__)


    @app.before_serving
    async def start():
        print("app: before serving", flush=True)


    @app.after_serving
    async def stop():
        print("app: after serving", flush=True)


    @app.get("/")
    async def index():
        return {"greeting": "hello"}


    @app.post("/echo")
    async def echo():
        return await request.get_data()


    @app.get("/stream")
    async def stream():
        async def pieces():
            for number in range(3):
                yield f"{number}\\n"
        return pieces(), {"content-type": "text/plain"}
    """


def framework(folder: Path, source: str, *flags: str) -> list[str]:
    (folder / "main.py").write_text(textwrap.dedent(source), "utf-8")
    return [sys.executable, "-m", "pronghorn", "main:app", "--port", "0", *flags]


def served(factory: pytest.TempPathFactory, source: str, *flags: str) -> Iterator[ServerProcess]:
    folder = factory.mktemp("framework")
    with running(folder, framework(folder, source, *flags)) as server:
        server.running_on()
        yield server


PARSERS = [("--http", "httptools", "--loop", "uvloop"), ("--http", "h11", "--loop", "asyncio")]


# FastAPI


@pytest.fixture(scope="module", params=PARSERS, ids=["httptools", "h11"])
def fastapi(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    yield from served(tmp_path_factory, FASTAPI, *request.param)


def test_fastapi_answers_with_the_state_of_its_lifespan(fastapi: ServerProcess) -> None:
    response = fastapi.get("/")
    assert response.json() == {"greeting": "hello from the lifespan"}
    assert response["x-tag"] == "/", "through BaseHTTPMiddleware"


def test_fastapi_reads_and_validates_json(fastapi: ServerProcess) -> None:
    with fastapi.connect() as client:
        json = "Content-Type: application/json"
        client.request("POST", "/items", json, body=b'{"name": "a", "price": 1.5}')
        assert client.response().json() == {"total": 3.0}
        client.request("POST", "/items", json, body=b'{"name": "a"}')
        assert client.response().status == 422


def test_fastapi_runs_a_plain_function_in_a_thread(fastapi: ServerProcess) -> None:
    assert fastapi.get("/sync").json() == "threaded"


def test_fastapi_serves_a_file(fastapi: ServerProcess) -> None:
    response = fastapi.get("/file")
    assert response.body == (fastapi.folder / "main.py").read_bytes()
    assert response["content-length"] == str(len(response.body))


def test_fastapi_streams_through_its_middleware(fastapi: ServerProcess) -> None:
    response = fastapi.get("/stream")
    assert response.text == "0\n1\n2\n"
    assert response["transfer-encoding"] == "chunked"


def test_fastapi_runs_background_tasks_behind_the_response(fastapi: ServerProcess) -> None:
    before = sum("in the background" in line for line in fastapi.stdout.so_far())
    assert fastapi.get("/background").json() == "done"
    fastapi.stdout.wait_for("app: in the background", count=before + 1)


def test_fastapi_stops_streaming_when_the_client_leaves(fastapi: ServerProcess) -> None:
    before = sum("endless ended" in line for line in fastapi.stdout.so_far())
    with fastapi.connect() as client:
        client.request("GET", "/endless")
        client.head()
        assert b"tick" in client.read(20)
    fastapi.stdout.wait_for("app: endless ended", count=before + 1)


def test_fastapi_errors_are_500_and_the_connection_is_not_harmed(tmp_path: Path) -> None:
    with running(tmp_path, framework(tmp_path, FASTAPI), shameful=True) as server, server.connect() as client:
        assert client.get("/fails").status == 500
        assert client.get("/").status == 200
        server.stderr.wait_for("ValueError: on purpose")


def test_fastapi_takes_an_upload(fastapi: ServerProcess) -> None:
    with fastapi.connect() as client:
        client.request("POST", "/upload", body=b"0123456789" * 200_000)
        assert client.response().json() == {"size": 2_000_000}


def test_fastapi_hears_of_start_and_stop(tmp_path: Path) -> None:
    with running(tmp_path, framework(tmp_path, FASTAPI)) as server:
        assert server.get("/").status == 200
        server.stop()
        printed = [line for line in server.stdout.all() if line.startswith("app:")]
        assert printed == ["app: started", "app: stopped"]


# Starlette


@pytest.fixture(scope="module", params=PARSERS, ids=["httptools", "h11"])
def starlette(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    yield from served(tmp_path_factory, STARLETTE, *request.param)


def test_starlette_relies_on_send_to_raise_and_it_does(starlette: ServerProcess) -> None:
    """From spec_version 2.4 on it starts no second task that waits for the disconnect; nothing is logged of it either."""
    before = sum("endless ended" in line for line in starlette.stdout.so_far())
    with starlette.connect() as client:
        client.request("GET", "/endless")
        client.head()
        client.read(5000)
    starlette.stdout.wait_for("app: endless ended", count=before + 1)


def test_starlette_is_told_of_a_client_that_leaves_in_its_body(starlette: ServerProcess) -> None:
    before = sum("the client left" in line for line in starlette.stdout.so_far())
    with starlette.connect() as client:
        client.request("POST", "/disconnected", "Content-Length: 10")
        client.send(b"01234")
    starlette.stdout.wait_for("app: the client left", count=before + 1)


def test_starlette_makes_urls(starlette: ServerProcess) -> None:
    shown = starlette.get("/where").json()
    assert shown["url"] == "http://localhost/where"
    assert tuple(map(int, shown["spec"].split("."))) >= (2, 4)


def test_a_background_task_is_finished_before_the_process_ends(tmp_path: Path) -> None:
    with running(tmp_path, framework(tmp_path, STARLETTE)) as server:
        assert server.get("/background").text == "answered"
        server.stop()
        assert "app: finished the task" in server.stdout.all()


@pytest.mark.parametrize("target", ["/where", "/mounted/where"])
def test_starlette_routes_behind_a_proxy_that_cuts_the_root_path_off(tmp_path: Path, target: str) -> None:
    with running(tmp_path, framework(tmp_path, STARLETTE, "--root-path", "/api")) as server:
        shown = server.get(target).json()
        assert shown["url"] == f"http://localhost/api{target}"
        assert shown["link"] == "http://localhost/api/where"


# Django


@pytest.fixture(scope="module", params=PARSERS, ids=["httptools", "h11"])
def django(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    yield from served(tmp_path_factory, DJANGO, *request.param)


def test_django_is_served_without_a_lifespan(django: ServerProcess) -> None:
    assert django.get("/").text == "hello from a synchronous view"
    django.stderr.wait_for("ASGI 'lifespan' protocol appears unsupported.")


def test_django_sees_the_request(django: ServerProcess) -> None:
    with django.connect() as client:
        forwarded = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        client.request("POST", "/details?q=%C3%A9", *forwarded, body="grün".encode())
        assert client.response().json() == {
            "path": "/details",
            "query": "é",
            "secure": True,
            "remote": "192.0.2.7",
            "body": "grün",
        }


def test_django_streams(django: ServerProcess) -> None:
    assert django.get("/stream").text == "0\n1\n2\n"


# Litestar and Quart


def test_litestar(tmp_path: Path) -> None:
    with running(tmp_path, framework(tmp_path, LITESTAR)) as server, server.connect() as client:
        assert client.get("/").json() == {"greeting": "hello"}
        client.request("POST", "/echo", "Content-Type: application/json", body=b'{"one": 1}')
        assert client.response().json() == {"one": 2}
        assert client.get("/stream").text == "0\n1\n2\n"
        assert client.get("/nowhere").status == 404


def test_quart(tmp_path: Path) -> None:
    with running(tmp_path, framework(tmp_path, QUART)) as server:
        with server.connect() as client:
            assert client.get("/").json() == {"greeting": "hello"}
            client.request("POST", "/echo", body=b"x" * 100_000)
            assert client.response().body == b"x" * 100_000
            assert client.get("/stream").text == "0\n1\n2\n"
        server.stop()
        printed = [line for line in server.stdout.all() if line.startswith("app:")]
        assert printed == ["app: before serving", "app: after serving"]
