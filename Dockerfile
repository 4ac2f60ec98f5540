# One image for every role: worker, dashboard and watcher; `init` is the same with terraform.
#
#   docker build -t fuseline --target worker .       non-root, no compiler, no credentials
#   docker build -t fuseline-init --target init .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG TERRAFORM_IMAGE=hashicorp/terraform:1.11

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The libraries first: this layer is made again only when the lock changes.
COPY requirements-image.lock ./
RUN python3 -m venv /opt/fuseline \
 && /opt/fuseline/bin/pip install --quiet --no-compile --require-hashes -r requirements-image.lock \
 && find /opt/fuseline/lib -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
      \( -path '*/pandas/*' -o -path '*/sklearn/*' -o -path '*/scipy/*' -o -path '*/numpy/*' -o -path '*/pyarrow/*' \
      -o -path '*/joblib/*' \) -prune -exec rm -rf {} + \
 && rm -rf /opt/fuseline/lib/python3*/site-packages/pyarrow/include
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY flows flows
RUN /opt/fuseline/bin/pip install --quiet --no-deps --no-build-isolation --no-compile . \
 && /opt/fuseline/bin/pip uninstall --quiet --yes hatchling editables pathspec pluggy tomlkit trove-classifiers pip \
 && /opt/fuseline/bin/python -m compileall -q -j 0 /opt/fuseline/lib

FROM ${PYTHON_IMAGE} AS worker
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends make >/dev/null \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin fuseline
COPY --from=build /opt/fuseline /opt/fuseline
WORKDIR /app
COPY Makefile pyproject.toml ./
COPY requirements-image.lock requirements.lock
COPY projects projects
COPY data data
# The Makefile finds its environment ready; what the roles write is on volumes that they own.
RUN touch /opt/fuseline/.ready \
 && install -d -o fuseline -g fuseline /app/data/generated /var/lib/fuseline
ARG REVISION=unknown
LABEL org.opencontainers.image.title=fuseline org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION}
ENV PATH=/opt/fuseline/bin:$PATH VENV=/opt/fuseline PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    FUSELINE_USER=fuseline METAFLOW_DATASTORE_SYSROOT_LOCAL=/var/lib/fuseline AWS_EC2_METADATA_DISABLED=true
USER fuseline
# Whether the store answers and the ledger can be read; what is wrong stands in `docker inspect`.
HEALTHCHECK --interval=30s --timeout=20s --start-period=20s --retries=3 CMD ["fuseline", "status", "bookings"]
CMD ["sleep", "infinity"]

FROM ${TERRAFORM_IMAGE} AS terraform

FROM worker AS init
COPY --from=terraform /bin/terraform /usr/local/bin/terraform
# Providers, if the image brings any: `terraform init` looks here before it asks the registry.
COPY --from=terraform /usr/local/share/ /usr/local/share/
COPY deployment/terraform /app/deployment/terraform
COPY deployment/init.py /app/deployment/init.py
USER root
RUN install -d -o fuseline -g fuseline /var/lib/terraform
USER fuseline
ENV CHECKPOINT_DISABLE=1
HEALTHCHECK --interval=5s --timeout=5s --start-period=1200s CMD ["test", "-f", "/tmp/ready"]
CMD ["python", "deployment/init.py"]
