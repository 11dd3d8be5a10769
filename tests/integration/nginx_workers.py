"""The worker processes of nginx in its container, and a reload that replaces them."""

from __future__ import annotations

from tests.integration.stack import Stack
from tests.support.waiting import until


def nginx_workers(stack: Stack) -> dict[int, bool]:
    """Process ids, and whether each is on its way out."""
    script = 'for file in /proc/[0-9]*/cmdline; do echo "$file $(tr "\\0" " " <$file)"; done 2>/dev/null'
    found = (line.split(maxsplit=1) for line in stack.execute("nginx", "sh", "-c", script).splitlines())
    titles = {int(path.split("/")[2]): rest[0] for path, *rest in found if rest}
    return {pid: "shutting down" in title for pid, title in titles.items() if "worker process" in title}


def reload(stack: Stack) -> None:
    """As somebody does who has changed the configuration; until the new workers serve, and the old ones no longer do."""
    old = nginx_workers(stack).keys()
    stack.execute("nginx", "nginx", "-s", "reload")

    def replaced() -> bool:
        now = nginx_workers(stack)
        return bool(now.keys() - old) and all(leaving for pid, leaving in now.items() if pid in old)

    until(replaced, "new workers")
