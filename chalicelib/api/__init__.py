"""The HTTP contract as plain functions of data; nothing here knows of Chalice."""
