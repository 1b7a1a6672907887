"""An email that crashes every process that sends it."""

from chaos.clients import PlannedMail
from chaos.scenario import Run, Scenario


def send_poison(run: Run) -> None:
    """Let one email among many kill two workers; a supervisor replaces them."""
    run.testbed.configure(delay_ms=50)
    run.testbed.wait_for_dispatchers()
    middle = run.mails // 2
    usual = run.plan_mail

    def plan_mail_with_poison(number: int) -> PlannedMail:
        planned = usual(number)
        return (
            PlannedMail(planned.key, f"{planned.subject}-poison", planned.delivery_guarantee)
            if number == middle
            else planned
        )

    run.plan_mail = plan_mail_with_poison  # type: ignore[method-assign]
    dead = 0

    def supervise() -> None:
        nonlocal dead
        dead += run.testbed.replace_dead_workers()

    with run.post_mails(rate=50):
        while run.clients and len(run.clients.client_records) < run.mails:
            supervise()
    run.wait_until_finished(supervise)
    mails = list(run.records.mails.values())
    [held] = [mail for mail in mails if mail.subject.endswith("poison")]
    run.expect_at_least("the email is HELD as poison", int((held.status, held.reason_code) == ("held", "poison")), 1)
    run.expect_at_most("other emails held", sum(mail.status == "held" for mail in mails) - 1, 0)
    run.expect_at_least("other emails done", sum(mail.status == "done" for mail in mails), run.mails - 1)
    if run.testbed.leg == "full":
        run.expect_at_most("workers it killed", dead, 2)


SCENARIOS = [
    Scenario(
        "poison",
        "an email that aborts the process",
        send_poison,
        1000,
        100,
        legs=("embedded", "full"),
        plant="abort-on-poison",
    )
]
