"""Load tests with Locust: users as real traffic has them, and thresholds that decide what is good enough (docs/load-tests.md).

`make loadtest` starts it. Each kind of user has a module: browse.py, transfers.py, streams.py, chat.py, slow.py; `locustfile.py` is what
Locust reads. What comes to pass is told to Locust as a request whose name begins with its group and a colon, `chat: round trip`, because that
is what thresholds.toml goes by. Nothing here is imported by the server, and settings.py and thresholds.py do not import Locust.
"""
