"""What the scaler asks of the Kubernetes API: whom to trust, who asks, what they may, which objects there are."""
