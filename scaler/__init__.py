"""Answers Kubernetes from PromQL over the forecast series."""
