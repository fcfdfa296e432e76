# img2ds in a container; see docs/docker.md. `--build-arg EXTRAS=laion` adds the stages of laion.
FROM python:3.12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY img2ds img2ds
COPY laion laion
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG EXTRAS=s3
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/img2ds-*.whl)[$EXTRAS]"
# Files in a mounted folder belong to who runs the container: docker run --user "$(id -u):$(id -g)".
WORKDIR /data
ENTRYPOINT ["img2ds"]
