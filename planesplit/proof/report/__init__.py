"""A proof for people: a table for terminals, one page for browsers and paper."""
