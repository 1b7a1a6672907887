"""A mail that aborts whatever process hands it to a provider."""

from chaos.clients import Order
from chaos.scenario import Run, Scenario


def poison(run: Run) -> None:
    """Let one email among many kill two workers; a supervisor replaces them."""
    run.testbed.behave(delay_ms=50)
    run.testbed.await_dispatchers()
    middle = run.mails // 2
    usual = run.order

    def order_with_poison(number: int) -> Order:
        order = usual(number)
        return Order(order.key, f"{order.subject}-poison", order.delivery_guarantee) if number == middle else order

    run.order = order_with_poison  # type: ignore[method-assign]
    dead = 0

    def supervise() -> None:
        nonlocal dead
        dead += run.testbed.revive()

    with run.posting(rate=50):
        while run.clients and len(run.clients.told) < run.mails:
            supervise()
    run.settle(supervise)
    mails = list(run.records.mails.values())
    [held] = [mail for mail in mails if mail.subject.endswith("poison")]
    run.at_least("the mail is HELD as poison", int((held.status, held.reason_code) == ("held", "poison")), 1)
    run.at_most("other mails held", sum(mail.status == "held" for mail in mails) - 1, 0)
    run.at_least("other mails done", sum(mail.status == "done" for mail in mails), run.mails - 1)
    if run.testbed.leg == "full":
        run.at_most("workers that it took", dead, 2)


SCENARIOS = [
    Scenario(
        "poison",
        "a mail that aborts the process",
        poison,
        1000,
        100,
        legs=("embedded", "full"),
        plant="abort-on-poison",
    )
]
