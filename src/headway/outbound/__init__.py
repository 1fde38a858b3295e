"""What leaves the server at a user's wish: calls, mails, and the texts in them; each held to where it may go and how long."""
