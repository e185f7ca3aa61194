"""Makes the weights that CloudPulse ships: a developer's tool, not part of the package."""
