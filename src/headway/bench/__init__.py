"""The tasks and the load of `headway bench`: programs of child processes, which nothing else imports."""
