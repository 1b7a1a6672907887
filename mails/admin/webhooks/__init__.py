"""Webhooks for operators: the list, a page for each with its deliveries, and what can be done with them."""
