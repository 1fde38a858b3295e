"""Tadabase's Tasks API: tasks are listed, run, watched and terminated as its documentation has it."""
