"""The dashboards as code, a developer's tool: `python -m grafana` writes `dashboards/*.json`."""
