"""KEDA's external scaler: the rules of `scaler.metrics` over gRPC, for ScaledObjects instead of the HPA's own API."""
