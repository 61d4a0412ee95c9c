"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# A slow machine is no failure: nothing here is judged by the clock.
settings.register_profile("initlint", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("initlint")
