"""What the containers may and may not do, asked of the containers themselves."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.stack import Stack

SERVICES = ["app", "nginx"]


def each_process(command: str) -> str:
    """A script that does this with each process of a container, but for one: what the engine starts in there, a health check or ourselves,
    is runc for a moment, and root's, before it is what it should be. When a process has got another name it has another owner already."""
    runc = 'case "$(cat $process/comm)" in runc*) continue ;; esac'
    return f"for process in /proc/[0-9]*; do {runc}; {command} || true; done 2>/dev/null"


OWNERS = f"{{ {each_process('stat -c %u:%g $process')}; }} | sort -u"


def test_the_server_is_not_root(client: httpx.Client) -> None:
    told = client.get("/process").json()

    assert (told["uid"], told["gid"]) == (10001, 10000)


@pytest.mark.parametrize(("service", "owner"), [("app", "10001:10000"), ("nginx", "10002:10000")])
def test_no_process_is_root_s(stack: Stack, service: str, owner: str) -> None:
    assert stack.execute(service, "sh", "-c", OWNERS).split() == [owner]


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_holds_or_can_gain_a_capability(stack: Stack, service: str) -> None:
    status = stack.execute(service, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", SERVICES)
def test_the_root_file_system_is_read_only(stack: Stack, service: str) -> None:
    script = "for folder in / /app /opt /etc /usr /var /home; do touch $folder/probe 2>/dev/null && echo $folder; done; true"

    assert stack.execute(service, "sh", "-c", script) == ""
    assert stack.inspect(service)["HostConfig"]["ReadonlyRootfs"] is True


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_setuid(stack: Stack, service: str) -> None:
    script = "find / -xdev -type f -perm /6000 2>/dev/null; true"

    assert stack.execute(service, "sh", "-c", script) == ""


def test_the_image_has_no_pip_and_no_compiler(stack: Stack) -> None:
    script = "for tool in pip pip3 gcc cc c++ g++ make ld uv curl; do command -v $tool; done; true"
    modules = (
        "import importlib.util as u; print([name for name in ('pip', 'ensurepip') if u.find_spec(name)])"
    )

    assert stack.execute("app", "sh", "-c", script) == ""
    assert stack.execute("app", "python3", "-c", modules).strip() == "[]"


def test_the_server_can_not_write_its_own_code(stack: Stack) -> None:
    script = "find /app /opt/pronghorn -user 10001 -o -group 10000 -o -perm -o+w ! -type l"

    assert stack.execute("app", "sh", "-c", script) == ""


def test_the_socket_is_for_the_two_of_them_alone(stack: Stack) -> None:
    for service in SERVICES:
        folder, file = stack.execute(
            service, "stat", "-L", "-c", "%a %u:%g %F", "/run/pronghorn", "/run/pronghorn/app.sock"
        ).splitlines()
        assert folder == "2770 10001:10000 directory"
        assert file == "660 10001:10000 socket"


def test_nginx_can_not_put_a_socket_of_its_own_in_the_place(stack: Stack) -> None:
    script = "rm -f /run/pronghorn/app.sock 2>/dev/null || echo kept"

    assert stack.execute("nginx", "sh", "-c", script).strip() == "kept"


ASK_ADMIN = """
import urllib.request
for path in ("livez?verbose", "readyz?verbose", "workers"):
    print(urllib.request.urlopen("http://{}:9464/" + path, timeout=10).read().decode())
"""


def test_the_admin_listener_is_for_the_containers_and_published_nowhere(stack: Stack) -> None:
    assert stack.inspect("app")["NetworkSettings"]["Ports"] in (None, {})
    for host in ("127.0.0.1", "app"):
        told = stack.execute("app", "python3", "-c", ASK_ADMIN.replace("{}", host))
        assert "[+] process: it answers\nok\n" in told
        assert "[+] workers: 1 of 1 serve\n" in told
        assert '"state": "ready"' in told


def test_the_health_check_asks_it(stack: Stack) -> None:
    told = stack.execute("app", "pronghorn", "healthcheck")
    assert told == "healthy: http://127.0.0.1:9464 answered 200 ok to /readyz?exclude=limit\n"
    assert stack.inspect("app")["Config"]["Healthcheck"]["Test"] == [
        *("CMD", "pronghorn", "healthcheck", "--timeout", "4")
    ]
    assert stack.execute("app", "pronghorn", "healthcheck", "--live").startswith("healthy: ")


def test_nginx_alone_is_published_and_only_on_loopback(stack: Stack) -> None:
    published = stack.inspect("nginx")["NetworkSettings"]["Ports"]

    assert published.keys() == {"8080/tcp", "8443/tcp", "8443/udp"}
    assert {binding["HostIp"] for bindings in published.values() for binding in bindings} == {"127.0.0.1"}
    assert not stack.inspect("app")["NetworkSettings"]["Ports"]


@pytest.mark.parametrize("service", SERVICES)
def test_memory_and_processes_are_limited(stack: Stack, service: str) -> None:
    host = stack.inspect(service)["HostConfig"]
    memory = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true"

    assert host["PidsLimit"] > 0
    assert stack.execute(service, "sh", "-c", memory).strip() == str(host["Memory"]) == str(512 * 1024 * 1024)


@pytest.mark.parametrize("service", SERVICES)
def test_as_many_descriptors_as_configured(stack: Stack, service: str) -> None:
    """Of whatever serves: process 1 is the init."""
    script = each_process("cat $process/limits")
    limits = stack.execute(service, "sh", "-c", script).splitlines()

    assert {tuple(line.split()[3:5]) for line in limits if line.startswith("Max open files")} == {
        ("16384", "16384")
    }


def test_no_secret_of_the_build_is_in_the_image(stack: Stack) -> None:
    script = "ls -A /run/secrets ~/.cache /var/cache/pip ~/.config/pip /etc/pip.conf 2>/dev/null; true"

    assert stack.execute("app", "sh", "-c", script) == ""
