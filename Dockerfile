# Pronghorn and one application in one image. Named stages: base -> builder -> production (the default), dev, test.
# `base` is what runs, on PYTHON_IMAGE; `builder` is the same on PYTHON_BUILD_IMAGE, which has a compiler.
#
#   docker build -t pronghorn .                                     the example examples/raw
#   docker build -t mine --build-context app=../mine .              your folder: main.py with `app`, requirements.txt if any
#   docker build --target test -t pronghorn-test .                  conformance tests on this Python
#   docker run pronghorn gunicorn                                   the same, with Gunicorn as the process manager
#
# docs/deployment.md explains every way to put an application in. There is no `# syntax=` line on purpose: it would fetch
# a frontend image, and a machine that reaches no registry must be able to build this.

ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG PYTHON_BUILD_IMAGE=python:3.13-trixie

# The application: this folder of the repository, or any other as `--build-context app=FOLDER`, which takes the stage's place.
FROM scratch AS app
ARG APP=examples/raw
COPY ${APP}/ /

# What every later stage agrees on: who runs, and where things are. Numbers, because a volume shared with nginx and a
# Kubernetes securityContext know no names. 10000 is the group of the socket, 10001 the server's user, 10002 is nginx's, 10003 makes load.
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10000 pronghorn \
    && useradd --uid 10001 --gid 10000 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pronghorn \
    && install --directory --mode 2770 --owner 10001 --group 10000 /run/pronghorn \
    && ln -s blue.sock /run/pronghorn/app.sock && chown -h 10001:10000 /run/pronghorn/app.sock \
    && install --directory --mode 755 --owner 10001 --group 10000 /srv/static
ENV PATH=/opt/pronghorn/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /app

# Has pip and a compiler. Dependencies are locked with hashes. Behind a TLS-inspecting proxy the CA bundle comes as a secret,
# and so does the pip.conf of a private index: neither ever becomes a layer.
FROM ${PYTHON_BUILD_IMAGE} AS tools
ENV PATH=/opt/pronghorn/bin:$PATH \
    PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/pronghorn
COPY scripts/image/ /usr/local/bin/

# The server as a wheel, its hot modules compiled (docs/adr/0024-hot-modules-compiled.md): a stage of its own, so that another
# application does not compile it again.
FROM tools AS wheel
COPY requirements/build.txt /src/requirements/
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    pip-install /opt/build --require-hashes -r /src/requirements/build.txt
COPY pyproject.toml README.md LICENSE /src/
COPY scripts/compile.py /src/scripts/
COPY server/ /src/server/
ARG PRONGHORN_COMPILE=1
RUN if [ "$PRONGHORN_COMPILE" = 1 ] && ! command -v gcc >/dev/null; then \
        echo "PYTHON_BUILD_IMAGE has no gcc: take one that has, or --build-arg PRONGHORN_COMPILE=0 for a slower server" >&2; exit 1; \
    fi; \
    /opt/build/bin/python -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /opt/build/wheels /src

# Makes /opt/pronghorn, an environment without pip.
FROM tools AS builder
COPY requirements/runtime.txt /src/requirements/
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    pip-install /opt/pronghorn --require-hashes -r /src/requirements/runtime.txt \
    && /opt/build/bin/python -m pip --python /opt/pronghorn/bin/python freeze > /opt/build/constraints.txt

# The application's own dependencies: requirements.txt, or those that pyproject.toml declares.
COPY --from=app /requirements*.txt /pyproject*.toml /src/app/
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    install-requirements /src/app

# What is compiled here carries no time of its sources, and what is copied from here has one and the same: the same commit
# makes the same layers. The date is the one that hatchling gives to what is in a wheel.
COPY --from=wheel /opt/build/wheels /opt/build/wheels
RUN pip-install /opt/pronghorn --no-index --no-deps /opt/build/wheels/*.whl \
    && install /usr/local/bin/publish-static /opt/pronghorn/bin/ \
    && /opt/pronghorn/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/pronghorn/lib

# For whoever starts this image with the command `gunicorn`, which looks for this file in the folder it is started in. The
# application's own takes its place.
COPY gunicorn.conf.py /app/
COPY --from=app / /app/
RUN collect-static \
    && python3 -m compileall -q --invalidation-mode checked-hash /app \
    && find /app /opt/pronghorn -exec touch --no-dereference --date=@1580601600 {} +

# Every tool of the repository on this image's Python, for a look inside: docker run -it -v "$PWD":/src pronghorn-dev
FROM builder AS dev
COPY pyproject.toml /src/
COPY requirements/dev.txt /src/requirements/
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    pip-install /opt/pronghorn --require-hashes -r /src/requirements/dev.txt
WORKDIR /src
CMD ["bash"]

# The tests of the server on this Python, against what is installed here, compiled modules and all. What is left out asks for
# the rest of the repository, for git, for an engine, for clients that are programs (curl, a browser), or for more rights than a
# container has (to be a PID 1 of its own).
FROM dev AS test
COPY tests/ /src/tests/
CMD ["sh", "-c", "cd tests && exec python -m pytest -p no:cacheprovider -k 'not pid_1 and not the_docs' \
    conformance --ignore=conformance/autobahn --ignore=conformance/h2_clients \
    unit/test_access*.py unit/test_chunked.py unit/test_cycle*.py unit/test_deadlines.py unit/test_h1*.py unit/test_h2_connection.py \
    unit/test_health.py unit/test_lifespan.py unit/test_rounds.py unit/test_scripted.py unit/test_server*.py unit/test_waker.py \
    unit/test_ws*.py"]

# Locust with the users of loadtest/, for the profile `loadtest` of docker-compose.yml. It stands beside what runs, and is no part of it.
FROM tools AS locust
COPY requirements/loadtest.txt /src/requirements/
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    pip-install /opt/pronghorn --require-hashes -r /src/requirements/loadtest.txt \
    && /opt/pronghorn/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/pronghorn/lib

FROM base AS loadtest
COPY --from=locust /opt/pronghorn /opt/pronghorn
COPY loadtest/ /opt/loadtest/loadtest/
RUN install --directory --mode 755 --owner 10003 --group 10003 /reports
ENV PYTHONPATH=/opt/loadtest \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    LOADTEST_REPORTS=/reports
WORKDIR /opt/loadtest
LABEL org.opencontainers.image.title="pronghorn-loadtest" \
      org.opencontainers.image.description="Locust with the load tests of Pronghorn" \
      org.opencontainers.image.licenses="BSD-3-Clause"
USER 10003:10003
ENTRYPOINT ["python3", "-m", "loadtest"]
CMD ["run"]

# What runs, and nothing else: no pip, no compiler, no package manager, no setuid or setgid file, nothing that everybody may
# write but /tmp. Owned by root, so that the server can not change its own code even where the root file system is writable.
# dpkg's list of what is installed stays: scanners and the SBOM read it.
FROM base AS production
RUN rm -rf /usr/local/lib/python3*/site-packages/pip /usr/local/lib/python3*/site-packages/pip-* \
        /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/share/python-wheels /usr/local/bin/pip* \
        /usr/bin/apt* /usr/bin/dpkg* /usr/lib/apt /usr/lib/dpkg /etc/apt /var/lib/apt /var/cache/apt \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && find / -xdev ! -type l -perm -o+w ! -path /tmp -exec chmod o-w {} +
COPY --from=builder /opt/pronghorn /opt/pronghorn
COPY --from=builder /app /app
# Fails if the two base images have not the same Python.
RUN PYTHONDONTWRITEBYTECODE=1 pronghorn --version
# What scripts/stack and docker-bake.hcl know of the commit; a label is empty where nobody said.
ARG PYTHON_IMAGE
ARG PYTHON_IMAGE_DIGEST
ARG IMAGE_VERSION
ARG IMAGE_REVISION
ARG IMAGE_CREATED
ARG IMAGE_SOURCE
LABEL org.opencontainers.image.title="pronghorn" \
      org.opencontainers.image.description="The Pronghorn ASGI server with one application, serving a Unix socket" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="${IMAGE_VERSION}" \
      org.opencontainers.image.revision="${IMAGE_REVISION}" \
      org.opencontainers.image.created="${IMAGE_CREATED}" \
      org.opencontainers.image.source="${IMAGE_SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.base.digest="${PYTHON_IMAGE_DIGEST}"
ENV PRONGHORN_APP=main:app \
    PRONGHORN_UDS=/run/pronghorn/blue.sock \
    PRONGHORN_UDS_MODE=660 \
    PRONGHORN_LOG_FORMAT=json \
    PRONGHORN_HEALTH_PATH=/healthz \
    PRONGHORN_ADMIN=127.0.0.1:9464 \
    PRONGHORN_FORWARDED_ALLOW_IPS=unix: \
    PRONGHORN_TIMEOUT_KEEP_ALIVE=75 \
    PRONGHORN_TIMEOUT_GRACEFUL_SHUTDOWN=30
USER 10001:10000
STOPSIGNAL SIGTERM
# Every half second until it first answers, so that what waits for it starts at once; then every ten.
HEALTHCHECK --start-period=60s --start-interval=0.5s --interval=10s --timeout=5s --retries=3 CMD ["pronghorn", "healthcheck", "--timeout", "4"]
CMD ["pronghorn"]
