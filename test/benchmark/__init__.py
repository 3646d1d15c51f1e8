"""Times of django-formula beside a straight script's and a formula's of Salt's own states."""
