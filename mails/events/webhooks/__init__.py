"""Client webhooks: events of an API key's emails, sent to a URL of the client. Standard Webhooks, at least once, in order per email.

`operations` and `redelivery`: what people and clients do with them. `fan_out` writes the deliveries, `sender` sends them.
"""
