"""Where Mercury may connect to."""

import asyncio
import socket

import pytest

from mercury.lib.runtime import event_loop
from providers import outbound_hosts
from providers.outbound_hosts import HostNotAllowed

# Digits that a URL parser reads as 127, while the system's resolver takes them for a name that nobody knows.
SEGMENTED_127 = "\N{SEGMENTED DIGIT ONE}\N{SEGMENTED DIGIT TWO}\N{SEGMENTED DIGIT SEVEN}"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.9",
        "192.0.0.192",
        "::ffff:192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
        "fec0::1",
    ],
)
def test_these_are_not_public(address):
    assert not outbound_hosts.is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"])
def test_these_are_public(address):
    assert outbound_hosts.is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "::1"])
def test_a_private_host_is_refused_however_it_is_written(host):
    with pytest.raises(HostNotAllowed, match="MERCURY_PRIVATE_HOSTS_ALLOWED"):
        outbound_hosts.check_host(host, allowed=frozenset())


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://LOCALHOST./v3", "localhost"),
        ("https://[::1]:8443/", "::1"),
        ("https://olimpus.com:8443", "olimpus.com"),
        ("https://Ölymp.test/", "xn--lymp-4qa.test"),
        (f"https://{SEGMENTED_127}.0.0.1:8443/v3/", "127.0.0.1"),
        ("https://127\N{IDEOGRAPHIC FULL STOP}0.0.1/", "127.0.0.1"),
        ("https://127.0.0.1\N{VARIATION SELECTOR-17}/", "127.0.0.1\N{VARIATION SELECTOR-17}"),
    ],
)
def test_the_host_of_a_url_is_what_the_check_is_asked_for(url, host):
    assert outbound_hosts.extract_host(url) == host


@pytest.mark.parametrize("host", ["10.0.0.1", "127.1", "0177.0.0.1", "2130706433", "::1", "fe80::1%eth0"])
def test_a_private_address_is_refused_before_a_call_in_each_spelling_that_no_resolver_is_asked_for(host):
    with pytest.raises(HostNotAllowed):
        outbound_hosts.check_literal(host, allowed=frozenset())


@pytest.mark.parametrize("host", ["93.184.215.14", "olympus.test", "10.0.0.1.olympus.test", "ölymp.test", ""])
def test_public_addresses_and_names_pass_before_a_call(host):
    outbound_hosts.check_literal(host, allowed=frozenset())


def test_a_host_on_the_list_may_be_private():
    outbound_hosts.check_host("LOCALHOST", allowed=frozenset({"localhost"}))


def test_one_private_address_among_several_is_enough_to_refuse():
    with pytest.raises(HostNotAllowed):
        outbound_hosts.check_addresses("olimpus.test", ["93.184.215.14", "10.0.0.1"], allowed=frozenset())


@pytest.mark.parametrize("host", ["a" * 70, "..", "olympus.invalid"])
def test_a_host_that_nobody_knows_passes_at_save(host, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", _not_found)

    outbound_hosts.check_host(host, allowed=frozenset())


def _answer(monkeypatch, *answers):
    """Let the system's resolver give these addresses, one after the other; return the names that it was asked for."""
    asked, addresses = list[str](), iter(answers)

    async def look_up(host, port):
        asked.append(host)
        return [(socket.AF_INET, (next(addresses), port))]

    monkeypatch.setattr(outbound_hosts, "look_up", look_up)
    return asked


def test_a_name_is_checked_again_when_its_addresses_are_no_longer_fresh(monkeypatch):
    asked = _answer(monkeypatch, "93.184.215.14", "127.0.0.1")

    async def scenario():
        resolver = outbound_hosts.GuardedResolver(frozenset())
        fresh = [await resolver.resolve("olimpus.test", 443, patience=1) for _ in range(2)]
        monkeypatch.setattr(outbound_hosts, "_DNS_TTL", 0)
        with pytest.raises(HostNotAllowed):
            await resolver.resolve("olimpus.test", 443, patience=1)
        return fresh

    assert event_loop.run(scenario()) == [[(socket.AF_INET, ("93.184.215.14", 443))]] * 2
    assert asked == ["olimpus.test"] * 2


def test_one_private_address_of_a_name_refuses_it(monkeypatch):
    async def look_up(host, port):
        return [(socket.AF_INET, ("93.184.215.14", port)), (socket.AF_INET6, ("::1", port, 0, 0))]

    monkeypatch.setattr(outbound_hosts, "look_up", look_up)

    with pytest.raises(HostNotAllowed):
        event_loop.run(outbound_hosts.GuardedResolver(frozenset()).resolve("olimpus.test", 443, patience=1))


def test_a_lookup_that_does_not_end_is_asked_for_once(monkeypatch):
    asked = []

    async def look_up(host, port):
        asked.append(host)
        await asyncio.Event().wait()

    monkeypatch.setattr(outbound_hosts, "look_up", look_up)

    async def scenario():
        resolver = outbound_hosts.GuardedResolver(frozenset())
        for _ in range(3):
            with pytest.raises(socket.gaierror) as found:
                await resolver.resolve("olimpus.test", 443, patience=0.01)
            assert found.value.errno == socket.EAI_AGAIN

    event_loop.run(scenario())

    assert asked == ["olimpus.test"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "0177.0.0.1", "2130706433", "::ffff:127.0.0.1"])
def test_a_literal_private_address_is_refused_at_each_connection(host):
    with pytest.raises(HostNotAllowed):
        event_loop.run(outbound_hosts.GuardedResolver(frozenset()).resolve(host, 443, patience=5))


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "..", "a b"])
def test_what_is_no_name_is_not_found(host):
    with pytest.raises(socket.gaierror):
        event_loop.run(outbound_hosts.GuardedResolver(frozenset()).resolve(host, 443, patience=5))


def test_a_connection_goes_to_the_address_that_was_checked(monkeypatch):
    asked = []

    def once(host, port, **_):
        asked.append(host)
        return [_entry("127.0.0.1", port)]

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **more: (once if host == "olimpus.test" else resolve)(host, *rest, **more),
        )
        targets = outbound_hosts.resolve_host(("olimpus.test", port), allowed=frozenset({"olimpus.test"}))
        with outbound_hosts.connect(targets, timeout=1) as client:
            peer = client.getpeername()

    assert peer == ("127.0.0.1", port)
    assert asked == ["olimpus.test"]


def _entry(address, port):
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def _not_found(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
