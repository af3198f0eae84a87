# docker build --tag origcli .                             for CPUs; podman takes the same words
# docker build --tag origcli --build-arg TORCH=cuda .      for NVIDIA GPUs; run with --gpus all
#
# docker run --rm --read-only --tmpfs /tmp --volume origcli-cache:/cache --volume "$PWD:/work" \
#   --user "$(id -u):$(id -g)" origcli score photo.jpg
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

ARG TORCH=cpu

# torch alone first: it is the largest part, and changes least.
COPY constraints.txt /src/
RUN case "$TORCH" in \
      cpu) set -- --index-url https://download.pytorch.org/whl/cpu ;; \
      cuda) set -- ;; \
      *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 2 ;; \
    esac; \
    python -m pip install --no-cache-dir --constraint /src/constraints.txt "$@" torch torchvision

COPY pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md /src/
COPY completions /src/completions
COPY man /src/man
COPY origcli /src/origcli
RUN python -m pip install --no-cache-dir --constraint /src/constraints.txt /src && rm -r /src

# What a run keeps is in /cache and /work. Any user may write to /cache, so that --user works with a new volume.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp origcli \
    && mkdir --mode 1777 /cache && mkdir /work && chown origcli:origcli /work
ENV ORIGCLI_CACHE=/cache \
    HF_HOME=/cache/huggingface \
    HOME=/tmp \
    PYTHONUNBUFFERED=1
VOLUME /cache
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["origcli"]
CMD ["--help"]
