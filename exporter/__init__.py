"""Shows a host as metrics."""
