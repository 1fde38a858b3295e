"""Times and policies of schedules: occurrences, slots, overlap and catch-up; pure, in whole seconds of UTC."""
