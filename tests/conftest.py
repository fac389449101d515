"""What all tests share."""

from hypothesis import HealthCheck, settings

# A test says nothing about time: a busy machine is no failure.
settings.register_profile("vsw", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vsw")
