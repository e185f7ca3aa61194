"""Alerts and predicted crossings drawn onto Grafana's graphs, and pushed to Grafana Live."""
