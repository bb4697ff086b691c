"""What changes the tables of the database: see `engine.database.migrate`."""
