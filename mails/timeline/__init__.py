"""The history of an email in sentences: the same words for pages, admin and commands.

`story` reads the rows of one email and asks the other modules, which are pure: rows and a time in, values out.
"""
