# One image for all four services; the command says which. torch is its CPU build where the index has one.
FROM python:3.11-slim
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cloudpulse cloudpulse
COPY exporter exporter
COPY forecaster forecaster
COPY alert_bridge alert_bridge
COPY scaler scaler
COPY prometheus prometheus
COPY examples examples
COPY docs/runbooks docs/runbooks
RUN pip install --no-cache-dir --constraint constraints.txt '.[all]' \
    && useradd --system --create-home cloudpulse \
    && install -d -o cloudpulse /data
USER cloudpulse
WORKDIR /data
ENTRYPOINT ["cloudpulse"]
