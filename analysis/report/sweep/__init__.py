"""A sweep's report: `document` puts the sections together, `results` is what they speak of."""
