"""How Django writes values on pages of its own, such as the lists of the admin."""
