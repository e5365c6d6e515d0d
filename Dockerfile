# docker build -t rudder . && docker run -p 7860:7860 rudder
# The weights of the embedded model are inside: nothing is downloaded at start.
# Where the plain index serves torch with CUDA, the CPU build comes with
#   docker build --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's CPU wheel index> -t rudder .
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL=""
RUN useradd --create-home --uid 1000 rudder
WORKDIR /home/rudder/app

COPY requirements.txt .
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

COPY --chown=rudder:rudder . .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable .

USER rudder
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["python", "app.py"]
