"""The server inside a program: `run`, `Config` and `Server`, in loops of its own and of others."""

import signal
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.process import running

APP = """
    import asyncio, signal, sys
    import pronghorn
    from pronghorn import Config, Server

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("lifespan.shutdown", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from a program"})
    """


def program(folder: Path, source: str) -> list[str]:
    """The command line of a script that has the application above at its beginning."""
    (folder / "program.py").write_text(textwrap.dedent(APP) + textwrap.dedent(source), "utf-8")
    return [sys.executable, "-W", "error", "program.py"]


# pronghorn.run


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_run_serves_an_object_until_a_signal(tmp_path: Path, loop: str) -> None:
    source = f"pronghorn.run(app, port=0, loop={loop!r})\nprint('returned', flush=True)\n"
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.get("/").text == "from a program"
        assert process.stop(signal.SIGTERM) == -signal.SIGTERM
        assert "lifespan.shutdown" in process.stdout.all()


def test_run_returns_after_sigint(tmp_path: Path) -> None:
    source = "pronghorn.run('program:app', port=0)\nprint('returned', flush=True)\n"
    guarded = "if __name__ == '__main__':\n" + textwrap.indent(source, "    ")
    with running(tmp_path, program(tmp_path, guarded)) as process:
        process.running_on()
        assert process.stop(signal.SIGINT) == 0
        assert process.stdout.all()[-1] == "returned"


def test_run_exits_as_the_command_does(tmp_path: Path) -> None:
    with running(tmp_path, program(tmp_path, "pronghorn.run('nowhere:app', port=0)\n")) as process:
        assert process.wait() == 3
        (line,) = process.stderr.all()
        assert "nowhere" in line


# Server.serve() inside a loop.


def test_serve_under_asyncio_run(tmp_path: Path) -> None:
    source = """
        server = Server(Config(app, host="127.0.0.1", port=0, workers=4, log_level="info"))
        asyncio.run(server.serve())
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.get("/").text == "from a program"
        assert process.stop(signal.SIGTERM) == -signal.SIGTERM


def test_serve_in_a_task_group_beside_a_task_that_ends_it(tmp_path: Path) -> None:
    """The handbook's example, and a worker that has enough at some time."""
    source = """
        async def background_worker(server):
            while not server.started:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            print((await reader.read()).decode().splitlines()[-1], flush=True)
            writer.close()
            server.should_exit = True

        async def main():
            server = Server(Config("program:app", host="127.0.0.1", port=PORT))
            async with asyncio.TaskGroup() as tg:
                tg.create_task(server.serve())
                tg.create_task(background_worker(server))
            print("both ended", server.started, flush=True)

        import socket
        if __name__ == "__main__":
            with socket.create_server(("127.0.0.1", 0)) as probe:
                PORT = probe.getsockname()[1]
            asyncio.run(main())
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.wait() == 0
        printed = [line for line in process.stdout.all() if not line.startswith("INFO")]
        assert printed == ["from a program", "lifespan.shutdown", "both ended False"]


def test_the_handbooks_graceful_shutdown_from_inside(tmp_path: Path) -> None:
    """`loop.add_signal_handler` before `serve()`: the signal stops the server, and what comes after it is the program's."""
    source = """
        async def run_with_shutdown():
            config = Config("program:app", host="127.0.0.1", port=0)
            server = Server(config)
            loop = asyncio.get_event_loop()
            def shutdown():
                print("shutdown called", flush=True)
                server.should_exit = True  # trigger graceful shutdown
            loop.add_signal_handler(signal.SIGTERM, shutdown)
            await server.serve()
            print("served", flush=True)

        if __name__ == "__main__":
            asyncio.run(run_with_shutdown())
            print("the program goes on", flush=True)
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.get("/").text == "from a program"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        printed = process.stdout.all()
        assert printed[-1] == "the program goes on"
        told = [line for line in printed if line in ("shutdown called", "lifespan.shutdown", "served")]
        assert told[:3] == ["shutdown called", "lifespan.shutdown", "served"]


def test_should_exit_set_before_serve_ends_it_at_once(tmp_path: Path) -> None:
    source = """
        server = Server(Config(app, port=0))
        server.should_exit = True
        asyncio.run(server.serve())
        print("ended", flush=True)
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.wait() == 0
        assert process.stdout.all() == ["lifespan.shutdown", "ended"]
        assert not any("running on" in line for line in process.stderr.all())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_who_answers_at_the_moment_of_the_shutdown_says_that_it_is_the_last(
    tmp_path: Path, loop: str
) -> None:
    source = f"""
        import logging
        shut_down = asyncio.Event()

        class Alarm(logging.Handler):
            def emit(self, record):
                if record.getMessage() == "Shutting down":
                    shut_down.set()

        async def waits(scope, receive, send):
            if scope["type"] == "http":
                logging.getLogger("pronghorn.error").addHandler(Alarm())
                print("waits", flush=True)
                await shut_down.wait()
            await app(scope, receive, send)

        pronghorn.run(waits, port=0, loop={loop!r})
        """
    with running(tmp_path, program(tmp_path, source)) as process, process.connect() as client:
        client.request("GET", "/")
        process.stdout.wait_for("waits")
        process.send_signal(signal.SIGTERM)
        assert client.response()["connection"] == "close"
        assert process.wait() == -signal.SIGTERM


def test_two_servers_in_one_loop_do_not_know_of_each_other(tmp_path: Path) -> None:
    source = """
        def named(name):
            async def application(scope, receive, send):
                if scope["type"] == "lifespan":
                    raise NotImplementedError
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": name})
            return application

        async def main():
            one, two = (Server(Config(named(name), port=0)) for name in (b"one", b"two"))
            first = asyncio.create_task(one.serve())
            while not one.started:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(two.serve())
            while not STOP.exists():
                await asyncio.sleep(0.01)
            one.should_exit = True
            await first
            print("one ended", two.started, flush=True)
            two.should_exit = True
            await second

        from pathlib import Path
        STOP = Path("stop")
        asyncio.run(main())
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        first, second = (int(process.running_on(count).rpartition(":")[2]) for count in (1, 2))
        assert first != second
        assert [process.get("/", port=port).text for port in (first, second)] == ["one", "two"]
        (tmp_path / "stop").touch()
        assert process.wait() == 0
        assert "one ended True" in process.stdout.all()


def test_should_exit_may_be_set_from_another_thread(tmp_path: Path) -> None:
    source = """
        import threading
        server = Server(Config(app, port=0))

        def run():
            asyncio.run(server.serve())
            print("ended", flush=True)

        thread = threading.Thread(target=run)
        thread.start()
        import time
        while not server.started:
            time.sleep(0.01)
        server.should_exit = True
        thread.join()
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.wait() == 0
        assert process.stdout.all() == ["lifespan.shutdown", "ended"]


def test_a_server_that_is_cancelled_cleans_up(tmp_path: Path) -> None:
    source = """
        async def main():
            server = Server(Config(app, uds="app.sock"))
            task = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                print("cancelled", flush=True)

        asyncio.run(main())
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.wait() == 0
        assert process.stdout.all()[-1] == "cancelled"
        assert not (tmp_path / "app.sock").exists()


def test_a_program_may_bring_sockets_of_its_own(tmp_path: Path) -> None:
    source = """
        import socket
        with socket.create_server(("127.0.0.1", 0)) as sock:
            Server(Config(app)).run(sockets=[sock])
        """
    with running(tmp_path, program(tmp_path, source)) as process:
        assert process.get("/").text == "from a program"
        assert process.stop(signal.SIGTERM) == -signal.SIGTERM


def test_importing_the_package_imports_neither_loop_nor_parser(tmp_path: Path) -> None:
    source = (
        "import sys, pronghorn; print(sorted({'uvloop', 'httptools', 'h11', 'asyncio'} & set(sys.modules)))"
    )
    with running(tmp_path, [sys.executable, "-c", source]) as process:
        assert process.wait() == 0
        assert process.stdout.all() == ["[]"]
