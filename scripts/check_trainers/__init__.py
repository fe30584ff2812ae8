"""``scripts/check-trainers``: exports trained for real, batch by batch, by the trainers they are written for."""
