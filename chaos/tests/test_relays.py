"""What arrived in a stream is compared event by event."""

from chaos.scenarios import relays


def test_only_an_event_that_arrives_for_the_first_time_after_a_later_one_of_its_email_is_out_of_order():
    assert relays.find_disordered([(1, "a"), (2, "b"), (3, "a"), (1, "a"), (3, "a"), (4, "b")]) == set()
    assert relays.find_disordered([(1, "a"), (3, "a"), (2, "a"), (4, "b")]) == {"a"}
