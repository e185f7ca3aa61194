"""Takes Alertmanager's webhooks to people."""
