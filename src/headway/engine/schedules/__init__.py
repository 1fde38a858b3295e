"""When schedules fire: occurrences read, slots found, policies applied; pure, in whole seconds of UTC inside."""
