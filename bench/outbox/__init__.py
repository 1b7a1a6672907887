"""The application that a user would write instead: a table of mails, and a task that sends one and records its outcome."""
