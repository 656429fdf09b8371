# One image for every service of the project: Prefect server and worker, Dask scheduler and workers, the command `sli`.
FROM python:3.11-slim

WORKDIR /app
COPY configs/constraints.txt .
COPY pyproject.toml README.md LICENSE ./
COPY sli sli
COPY flows flows
RUN pip install --no-cache-dir --constraint constraints.txt '.[postgres,prefect,serve]'
COPY configs configs
COPY prefect.yaml .

# Volumes get the owner of the folder that they cover.
RUN useradd --create-home sli && mkdir -p /var/lib/prefect /var/spills && chown sli /var/lib/prefect /var/spills
USER sli
ENV DO_NOT_TRACK=1 PREFECT_HOME=/var/lib/prefect
