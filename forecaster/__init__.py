"""Reads series with PromQL and shows forecasts as `cloudpulse_forecast_*`."""
