# One image for web, media, worker, beat and migrations: compose chooses the command.
FROM python:3.13-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/bootstrap.lock requirements/image.lock /requirements/
RUN python -m venv /tools \
    && /tools/bin/python -m pip install --require-hashes -r /requirements/bootstrap.lock \
    && python -m venv --without-pip /venv \
    && /tools/bin/uv pip install --no-cache --python /venv/bin/python --compile-bytecode \
        --require-hashes -r /requirements/image.lock

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home voicecall \
    && install --directory --owner=voicecall --mode=0750 /data
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=voicecall.settings \
    DJANGO_STATIC_ROOT=/app/static-root \
    VAR_DIR=/data
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py ./
COPY voicecall voicecall
COPY calls calls
COPY realtime realtime
COPY recordings recordings
COPY templates templates
# Settings need values even to collect static files: the sandbox's are no secret, and do not stay.
RUN --mount=type=bind,source=sandbox.env,target=/tmp/build.env \
    VOICECALL_ENV_FILE=/tmp/build.env VAR_DIR=/tmp python manage.py collectstatic --noinput \
    && python -m compileall -q voicecall calls realtime recordings
USER voicecall
EXPOSE 8000
CMD ["daphne", "--bind", "0.0.0.0", "--port", "8000", "voicecall.asgi:application"]
