"""The database of the live market: bars, signals and orders, in SQLite or PostgreSQL.

    database = open_database("sqlite:///market.db")        # engine.database.database
    with database.writing() as connection:
        connection.execute(database.insert(BARS).values(...))

SQLAlchemy Core with explicit tables; the schema is made and changed by Alembic, whose migrations lie in
`engine/database/migrations` and run when a database is opened.
"""
