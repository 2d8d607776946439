"""What holds for every test."""

from hypothesis import HealthCheck, settings

# A loaded machine is no failure.
settings.register_profile("swell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("swell")
