"""The models that exist, and the one place that makes them from their names."""
from forecaster.models.profile import Profile
from forecaster.models.seasonal_naive import SeasonalNaive
MODELS={"seasonal_naive": SeasonalNaive, "profile": Profile}
