"""What all tables belong to, whoever defines them."""

from sqlalchemy import MetaData

METADATA = MetaData()
