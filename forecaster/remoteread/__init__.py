"""Remote read: Prometheus asks for series here as if they were its own, and gets the future.

Source: https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/ and Prometheus' storage/remote.
"""
