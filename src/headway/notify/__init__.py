"""\"Something changed, go and look\": wake-ups that carry no data, so that nothing is lost when one is."""
