"""Two browsers on the examples, through the shipped stack: what people see of a reload, of a restart, of a connection that broke."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.integration.browser import Browser, browser
from tests.integration.conftest import Built, shown_on_failure
from tests.integration.nginx_workers import nginx_workers, reload
from tests.integration.stack import Stack, docker, new_name, project
from tests.support.waiting import until


@contextmanager
def example(images: Built, config: pytest.Config, folder: str) -> Iterator[Stack]:
    """The stack with one of the examples in it, as APP=examples/... makes it."""
    name = new_name()
    settings = {**images.variables, "PRONGHORN_IMAGE": f"{name}-app"}
    try:
        with project(name, settings, build=True, app=folder) as stack, shown_on_failure(config, stack):
            yield stack
    finally:
        docker("image", "rm", "--force", f"{name}-app", check=False)


@pytest.fixture(scope="module")
def chat(images: Built, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with example(images, pytestconfig, "examples/chat") as stack:
        yield stack


@pytest.fixture(scope="module")
def sse(images: Built, pytestconfig: pytest.Config) -> Iterator[Stack]:
    with example(images, pytestconfig, "examples/sse") as stack:
        yield stack


@pytest.fixture(scope="module")
def ann() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def bob() -> Iterator[Browser]:
    with browser() as another:
        yield another


# ---- Chat -----------------------------------------------------------------------------------------------------------


def enter(page: Browser, chat: Stack, name: str, url: str | None = None) -> None:
    """With the keyboard alone: the dialog has the focus, and leaves it where one writes."""
    page.open(url or chat.url)
    page.type(Keys.CONTROL, "a", Keys.NULL)
    page.type(name, Keys.ENTER)
    page.until_open()


def say(page: Browser, text: str) -> None:
    page.type(text, Keys.ENTER)


def said(page: Browser) -> list[str]:
    return page.texts("#messages p")


def here(page: Browser) -> list[str]:
    return page.texts("#people li")


@pytest.fixture
def both(chat: Stack, ann: Browser, bob: Browser) -> Iterator[tuple[Browser, Browser]]:
    """Ann and Bob in the room, who see each other."""
    enter(ann, chat, "Ann")
    enter(bob, chat, "Bob")
    until(lambda: here(ann) == here(bob) == ["Ann", "Bob"], "both in the room")
    ann.forget_states()
    bob.forget_states()
    yield ann, bob
    ann.leave()
    bob.leave()


def until_both_have(both: tuple[Browser, Browser], *texts: str) -> None:
    """Until both pages show exactly this behind whatever was there before."""
    wanted = list(texts)
    until(lambda: all(said(page)[-len(wanted) :] == wanted for page in both), f"{wanted} on both pages")


def test_two_people_talk(both: tuple[Browser, Browser]) -> None:
    ann, bob = both
    say(ann, "Is anybody here?")
    until_both_have(both, "Is anybody here?")
    say(bob, "<b>I</b> am & so are you")
    until_both_have(both, "Is anybody here?", "<b>I</b> am & so are you")

    assert ann.texts("#messages li:nth-last-child(-n+2) b") == ["You", "Bob"]
    assert bob.texts("#messages li:nth-last-child(-n+2) b") == ["Ann", "You"]
    assert ann.texts("#waiting li") == []

    bob.leave()
    until(lambda: here(ann) == ["Ann"], "Bob gone from the list")
    assert ann.complaints() == []


def test_who_comes_over_tls_is_in_the_same_room(both: tuple[Browser, Browser], chat: Stack) -> None:
    """Its WebSocket is one of HTTP/1.1 in TLS, beside a page that came over HTTP/2."""
    bob = both[1]
    enter(bob, chat, "Bob", chat.tls_url)
    assert bob.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    until(lambda: here(bob) == ["Ann", "Bob"], "Bob in the room")
    say(bob, "from a page over TLS")
    until_both_have(both, "from a page over TLS")


def test_who_comes_later_reads_what_was_said(both: tuple[Browser, Browser], chat: Stack) -> None:
    ann, bob = both
    say(ann, "said before the page was loaded again")
    until_both_have(both, "said before the page was loaded again")
    before = said(ann)
    enter(bob, chat, "Robert")
    # Bob's page is told who is here together with what was said.
    until(lambda: here(ann) == here(bob) == ["Ann", "Robert"], "Bob under his new name")

    assert said(bob) == before


def test_a_screen_reader_is_told_what_is_what(both: tuple[Browser, Browser]) -> None:
    ann, _ = both

    assert ann.accessible() >= {
        ("heading", "Chat"),
        ("status", ""),
        ("log", "Messages"),
        ("textbox", "Message"),
        ("button", "Send"),
        ("heading", "Here now 2"),
    }


def test_a_reload_of_nginx_disconnects_nobody(both: tuple[Browser, Browser], chat: Stack) -> None:
    ann, bob = both
    reload(chat)
    say(ann, "did you notice?")
    until_both_have(both, "did you notice?")
    say(bob, "no")
    until_both_have(both, "did you notice?", "no")

    assert ann.states() == bob.states() == []


def test_a_connection_that_broke_costs_nothing(both: tuple[Browser, Browser], chat: Stack) -> None:
    """nginx's processes are killed, which the pages learn from nobody; the room is still there, and knows both."""
    ann, bob = both
    say(ann, "one")
    until_both_have(both, "one")
    before = said(bob)
    chat.execute("nginx", "sh", "-c", f"kill -KILL {' '.join(map(str, nginx_workers(chat)))}")
    until(lambda: ann.states() and bob.states(), "the loss noticed")
    say(ann, "two")
    say(bob, "three")
    until(lambda: len(said(ann)) == len(said(bob)) == len(before) + 2, "what was said meanwhile")

    assert said(ann)[: len(before)] == said(bob)[: len(before)] == before
    assert said(ann) == said(bob)
    assert sorted(said(ann)[len(before) :]) == ["three", "two"]
    until(lambda: here(ann) == here(bob) == ["Ann", "Bob"], "both in the room again, once each")


def test_a_restart_of_the_application_loses_and_doubles_nothing(
    both: tuple[Browser, Browser], chat: Stack
) -> None:
    ann, bob = both
    say(ann, "before the restart")
    until_both_have(both, "before the restart")
    before = said(ann)
    chat.run("stop", "app")
    until(lambda: not ann.is_open() and not bob.is_open(), "the loss noticed")
    say(ann, "Ann meanwhile")
    say(bob, "Bob meanwhile")
    assert ann.texts("#waiting p") == ["Ann meanwhile"]
    chat.up()
    ann.until_open()
    bob.until_open()
    until(lambda: len(said(ann)) == len(said(bob)) == len(before) + 2, "what was said meanwhile")

    assert said(ann) == said(bob)
    assert said(ann)[: len(before)] == before
    assert sorted(said(ann)[len(before) :]) == ["Ann meanwhile", "Bob meanwhile"]
    assert ann.texts("#waiting li") == bob.texts("#waiting li") == []
    until(lambda: here(ann) == here(bob) == ["Ann", "Bob"], "both in the room again")

    say(bob, "and on")
    until_both_have(both, "and on")


# ---- Server-sent events ---------------------------------------------------------------------------------------------


@pytest.fixture
def page(sse: Stack, ann: Browser) -> Iterator[Browser]:
    """The ticker, live, with its first events."""
    ann.open(sse.url)
    ann.until_open()
    until_tick(ann, lambda ids: len(ids) > 1)
    ann.forget_states()
    yield ann
    ann.leave()


def ids(page: Browser) -> list[int]:
    """Of the events that the page got, oldest first."""
    found: list[int] = page.run(
        "return [...document.querySelectorAll('#events tr')].map((row) => Number(row.dataset.id)).reverse()"
    )
    return found


def until_tick(page: Browser, condition: Callable[[list[int]], bool]) -> list[int]:
    until(lambda: condition(ids(page)), "ticks on the page")
    return ids(page)


def without_gap(found: list[int]) -> bool:
    return found == list(range(found[0], found[-1] + 1))


def ticks(stack: Stack, after: int | None = None) -> Generator[int, None, None]:
    """The ids of a stream, as another client gets them."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with (
        httpx.Client(base_url=stack.url, timeout=30) as client,
        client.stream("GET", "/events", headers=headers) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        yield from (int(line[4:]) for line in answer.iter_lines() if line.startswith("id: "))


def test_events_arrive_as_they_happen(page: Browser, sse: Stack) -> None:
    last = ids(page)[-1]
    found = until_tick(page, lambda found: found[-1] >= last + 2)

    assert without_gap(found)
    assert page.states() == []
    assert page.complaints() == []


def test_a_client_that_comes_back_gets_what_it_missed(sse: Stack) -> None:
    first = ticks(sse)
    begun = [next(first), next(first)]
    first.close()
    newest = ticks(sse, begun[-1])
    missed = [next(newest), next(newest)]
    newest.close()

    assert without_gap(begun + missed)


def test_a_pause_leaves_no_gap(page: Browser, sse: Stack) -> None:
    page.run("document.querySelector('#pause').click()")
    paused = ids(page)[-1]
    for number in ticks(sse, paused):
        if number >= paused + 2:
            break
    assert ids(page)[-1] == paused
    page.run("document.querySelector('#pause').click()")
    found = until_tick(page, lambda found: found[-1] >= paused + 3)

    assert without_gap(found)


def test_a_reload_of_nginx_ends_no_stream(page: Browser, sse: Stack) -> None:
    reload(sse)
    last = ids(page)[-1]
    found = until_tick(page, lambda found: found[-1] >= last + 2)

    assert page.states() == []
    assert without_gap(found)


def test_the_stream_goes_on_where_a_restart_of_the_application_ended_it(page: Browser, sse: Stack) -> None:
    sse.run("stop", "app")
    until(lambda: not page.is_open(), "the end of the stream noticed")
    before = ids(page)
    sse.up()
    page.until_open()
    found = until_tick(page, lambda found: found[-1] > before[-1])

    assert page.run("return document.querySelector('#resumed').dataset.after") == str(before[-1])
    assert found[: len(before)] == before
    assert found == sorted(set(found))
