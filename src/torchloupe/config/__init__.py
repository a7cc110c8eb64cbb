"""The settings: their schema and their text form."""
