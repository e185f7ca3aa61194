"""The Prometheus query API over the forecaster's own series: PromQL's subset of `docs/query-api.md`, on numpy arrays."""
