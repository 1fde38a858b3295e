"""Wake-ups that carry no data ('something changed, go and look'), so that nothing is lost when one is."""
