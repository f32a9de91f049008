"""What adversarial trainings share: players, their losses and networks, runs that go on where they stopped."""
