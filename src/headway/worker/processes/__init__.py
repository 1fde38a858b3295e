"""Operating system processes: launch, environment, exit codes, output and supervision."""
