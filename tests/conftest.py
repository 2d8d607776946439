"""Settings of Hypothesis for every test."""

from hypothesis import HealthCheck, settings

# A busy machine is not a failure, so examples have no deadline.
# `quick` keeps `make check` short; `make test-full` runs `thorough`.
settings.register_profile("quick", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile("quick")
