"""The papers' tables as data, and what this package measures beside them."""
