"""The Prometheus query API over the forecaster's own series: the subset of PromQL that `docs/query-api.md` lists."""
