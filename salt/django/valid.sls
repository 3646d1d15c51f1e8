# Leaves nothing behind on the host: it says every mistake in the pillar at once. Each tier includes
# it and has no states of its own when there is a mistake, so that it does not matter which of them
# is applied.

the pillar is valid:
  django.valid: []
