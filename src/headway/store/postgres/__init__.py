"""The store on PostgreSQL: one database that any number of servers share."""
