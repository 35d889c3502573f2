# syntax=docker/dockerfile:1
# One image for every process: web, worker, scheduler, migrate. `docker run` without a command starts all of them (holdfast up).

FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/holdfast
COPY requirements.lock /tmp/
RUN /opt/holdfast/bin/pip install --require-hashes -r /tmp/requirements.lock
WORKDIR /app
COPY pyproject.toml README.md wsgi.py ./
COPY migrations migrations
COPY static static
COPY templates templates
COPY webapp webapp
RUN /opt/holdfast/bin/pip install --no-deps --editable . \
 && /opt/holdfast/bin/python -m compileall -q /app/webapp /opt/holdfast/lib

FROM python:3.12-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-client postgresql-client rsync \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1001 holdfast \
 && useradd --uid 1001 --gid 1001 --home-dir /data --no-create-home --shell /usr/sbin/nologin holdfast \
 && install -d -o holdfast -g holdfast -m 700 /data /archives
COPY --from=build /opt/holdfast /opt/holdfast
COPY --from=build /app /app
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOLDFAST_DATA_DIR=/data \
    HOLDFAST_ARCHIVE_DIR=/archives \
    HOST=0.0.0.0 \
    PORT=8000
USER 1001:1001
WORKDIR /app
VOLUME ["/data", "/archives"]
EXPOSE 8000
CMD ["holdfast", "up"]
