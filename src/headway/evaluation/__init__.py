"""Child processes that evaluate what users give: templates, and inputs against schemas; each within limits of time and memory."""
