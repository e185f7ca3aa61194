"""The ground that CloudPulse's four services share; it imports none of them."""

__version__ = "0.1.0"
